"""Pictures of a report: samples and reconstructions first, then those of the checks, and training."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrogen import plots
from pyrogen.diagnostics import Diagnosis, draw_samples
from pyrogen.diagnostics.report.examination import is_image
from pyrogen.inference import Fit, reconstruct

_SHOWN, _COLUMNS = 32, 16
"""Images in a picture, and in a row."""
_SECONDS, _AT_ONCE = 5.0, 8
"""Time after which no further samples are drawn, and how many are drawn between two looks at the clock."""


def report_pictures(
    run: Fit, diagnosis: Diagnosis, columns: Mapping[str, Tensor], training: Mapping[str, Tensor], seed: int
) -> dict[str, bytes]:
    """The pictures of a report, as PNG files.

    Args:
        run: the run.
        diagnosis: of it.
        columns: the data that were examined.
        training: the training data.
        seed: of the samples.

    Returns:
        By name, in their order on the page: samples, data and reconstructions, the least probable images, checks,
        training.
    """
    pictures: dict[str, Any] = {}
    if (x := columns.get("x")) is not None and is_image(x):
        pictures |= _images(run, diagnosis, columns, training, seed)
    pictures |= plots.diagnostic_figures(diagnosis)
    if run.history:
        with plots.transparent_theme():
            pictures["training"] = plots.training_curve(run)
    return {name: _png(picture) for name, picture in pictures.items()}


def _images(
    run: Fit, diagnosis: Diagnosis, columns: Mapping[str, Tensor], training: Mapping[str, Tensor], seed: int
) -> dict[str, Any]:
    """Samples beside data, reconstructions, and the least probable data."""
    pictures: dict[str, Any] = {}
    x, compared = columns["x"][:_SHOWN], diagnosis.results.get("sample_quality")
    samples = _samples(run, columns, seed) if compared is None else compared.samples[:_SHOWN]
    if samples is not None and is_image(samples):
        pictures["samples"] = plots.image_grid(samples, columns=_COLUMNS)
    pictures["data"] = plots.image_grid(x, columns=_COLUMNS)
    rebuilt = _reconstructions(run, {name: column[: _SHOWN // 2] for name, column in columns.items()})
    if rebuilt is not None and rebuilt.shape == x[: _SHOWN // 2].shape:
        pictures["reconstructions"] = plots.image_grid(torch.cat([x[: _SHOWN // 2], rebuilt]), columns=_SHOWN // 2)
    if compared is not None and is_image(compared.samples):
        pictures["sample_quality"] = plots.sample_neighbours(compared.samples[: _SHOWN // 4], training["x"])
    examined = diagnosis.columns.get("x")
    if "typicality" in diagnosis.results and examined is not None:
        worst = diagnosis.results["typicality"].log_likelihood.argsort()[:_SHOWN]
        pictures["worst"] = plots.image_grid(examined[worst.tolist()], columns=_COLUMNS)
    return pictures


def _samples(run: Fit, columns: Mapping[str, Tensor], seed: int) -> Tensor | None:
    """A few samples, fewer of a story that is slow to draw from; None where it cannot be drawn from."""
    batches: list[Tensor] = []
    start = time.perf_counter()
    while len(batches) * _AT_ONCE < _SHOWN and time.perf_counter() - start < _SECONDS:
        try:
            batches.append(draw_samples(run, columns, _AT_ONCE, seed=seed + len(batches)))
        except (ValueError, RuntimeError):  # a story without samples, or a program that takes no other rows
            break
    return torch.cat(batches) if batches else None


def _reconstructions(run: Fit, columns: dict[str, Tensor]) -> Tensor | None:
    """Reconstructions of data; None where the story has no code of a datum."""
    try:
        rebuilt = reconstruct(run, columns)
    except (ValueError, RuntimeError):
        return None
    return rebuilt if isinstance(rebuilt, Tensor) else None


def _png(picture: Any) -> bytes:
    """A Matplotlib figure, or pixels, as a PNG file."""
    buffer = io.BytesIO()
    if hasattr(picture, "savefig"):
        picture.savefig(buffer, dpi=130)
    else:
        plots.save_picture(buffer, picture)
    return buffer.getvalue()
