"""How good the samples of a story or generator are, by figures that need no density."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrogen.data import Columns
from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.samples.features import Features, Pixels
from pyrogen.diagnostics.samples.frechet import frechet_distance
from pyrogen.diagnostics.samples.prdc import density_coverage, memorization, precision_recall
from pyrogen.diagnostics.samples.two_sample import classifier_two_sample, kernel_distance
from pyrogen.inference import evaluation_context
from pyrogen.inference.program.rng import seeded

__all__ = ["SampleQuality", "draw_samples", "sample_quality"]

_ROWS = 1000
"""Samples drawn at a time."""


@dataclasses.dataclass(frozen=True)
class SampleQuality:
    """Samples compared with held-out data; figures compare with those of equal features and numbers alone.

    Args:
        features: the name of what they were compared in.
        num_samples: samples n.
        num_data: held-out data N.
        num_training: training data that memorization was sought in; 0 where there were none.
        seed: of samples, rows and classifier.
        frechet_distance: 0 is best, and not reached by finite samples; error by jackknife.
        kernel_distance: 0 is best, errors from independent blocks; may be negative.
        precision: share of samples that lie among the data.
        recall: share of data that lie among the samples.
        density: 1 expected of perfect samples, less of samples that stray.
        coverage: share of data with a sample in their neighbourhood, 31/32 expected of perfect samples at n = N.
        two_sample_accuracy: of a classifier on held-out rows, 1/2 where samples cannot be told from data.
        two_sample_p_value: how often it would be as accurate if they could not.
        memorization: chance that a sample is nearer to the training data than a held-out datum is, 1/2 for fresh draws.
        memorization_p_value: how often fresh draws would be as near.
    """

    features: str
    num_samples: int
    num_data: int
    num_training: int
    seed: int
    frechet_distance: Estimate
    kernel_distance: Estimate
    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    two_sample_accuracy: Estimate
    two_sample_p_value: float
    memorization: Estimate | None = None
    memorization_p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it by name, ready for JSON; the standard error of `precision` is `precision_error`, and so on."""
        figures: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                figures |= {field.name: _finite(value.value), f"{field.name}_error": _finite(value.error)}
            else:
                figures[field.name] = value
        return figures

    def __str__(self) -> str:
        lines = [
            f"{self.num_samples:,} samples against {self.num_data:,} held-out data in {self.features}, seed {self.seed}"
        ]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                p_value = getattr(self, f"{field.name.removesuffix('_accuracy')}_p_value", None)
                said = "" if p_value is None else f"  (p = {p_value:.2g})"
                lines.append(f"{field.name.replace('_', ' '):<20} {value}{said}")
        return "\n".join(lines)


def sample_quality(
    fitted: Any,
    data: Any,
    num_samples: int | None = None,
    features: Features | None = None,
    *,
    seed: int = 0,
    training: Any = None,
) -> SampleQuality:
    """Draw samples and compare them with held-out data.

    A column that the model conditions on, such as a label, is given as it is in the held-out rows.

    Args:
        fitted: a `Fit`, a story, a pair of Pyro functions that stock SVI trained; or samples (n, ...) as they are.
        data: held-out columns, prepared as the samples are to be; column `x` is compared, or the only one.
        num_samples: samples n; None: as many as there are data. Of more data, only n rows are taken, by chance.
        features: what is compared; None: the numbers as they are.
        seed: of samples, rows and classifier.
        training: the training columns, in which memorization is sought; None: it is not.

    Raises:
        ValueError: the story has no samples, or they are not finite or of another shape than the data; or there are
            fewer than 40 of either.

    Example:
        >>> from pyrogen.models import PPCA
        >>> quality = sample_quality(PPCA(3, latent=1), torch.randn(100, 3), training=torch.randn(200, 3))
        >>> quality.num_samples, quality.features, sorted(quality.to_dict())[:3]
        (100, 'raw values', ['coverage', 'coverage_error', 'density'])
    """
    features = Pixels() if features is None else features
    held_out, known = _columns(data, seed), None if training is None else _columns(training, seed)
    name = _compared(held_out)
    samples = fitted if isinstance(fitted, Tensor) else draw_samples(fitted, held_out, num_samples, seed=seed)
    rows = torch.randperm(len(held_out[name]), generator=torch.Generator().manual_seed(seed))[: len(samples)]
    x = held_out[name][rows]
    _check_samples(samples, x)
    trained_on = None if known is None else features(known[name])
    return _compare(features(samples), features(x), trained_on, features.name, seed)


def draw_samples(fitted: Any, data: Any, num_samples: int | None = None, *, seed: int = 0) -> Tensor:
    """Samples of the column that `sample_quality` compares, a thousand at a time.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns; those that the model conditions on are given as they are, row by row, from the first on again
            where they run out.
        num_samples: n; None: as many as there are data.
        seed: of the draws; the caller's random state is kept.

    Returns:
        (n, *event shape), on the CPU.

    Raises:
        ValueError: the story declines to sample.

    Example:
        >>> from pyrogen.models import PPCA
        >>> draw_samples(PPCA(3, latent=1), torch.randn(100, 3)).shape
        torch.Size([100, 3])
    """
    columns = _columns(data, seed)
    name = _compared(columns)
    n = len(columns[name]) if num_samples is None else num_samples
    with evaluation_context(fitted, seed) as context:
        story = context.story
        sites = story.training_spec.sites if story.training_spec is not None else ()
        accepts = story.signatures()[0].accepts
        given = {k: c.to(story.device) for k, c in columns.items() if k != name and k not in sites and accepts(k)}
        parts = []
        for rows in torch.arange(n).split(_ROWS):
            drawn = story.sample(len(rows), **{k: c[(rows % len(c)).to(c.device)] for k, c in given.items()})
            parts.append((drawn[name] if isinstance(drawn, Mapping) else drawn).cpu())
    return torch.cat(parts)


def _compare(samples: Tensor, data: Tensor, training: Tensor | None, features: str, seed: int) -> SampleQuality:
    precision, recall = precision_recall(samples, data)
    density, coverage = density_coverage(samples, data)
    test = classifier_two_sample(samples, data, seed=seed)
    copied = None if training is None else memorization(samples, data, training)
    return SampleQuality(
        features=features,
        num_samples=len(samples),
        num_data=len(data),
        num_training=0 if training is None else len(training),
        seed=seed,
        frechet_distance=frechet_distance(samples, data),
        kernel_distance=kernel_distance(samples, data),
        precision=precision,
        recall=recall,
        density=density,
        coverage=coverage,
        two_sample_accuracy=test.accuracy,
        two_sample_p_value=test.p_value,
        memorization=None if copied is None else copied.nearer,
        memorization_p_value=None if copied is None else copied.p_value,
    )


def _columns(data: Any, seed: int) -> dict[str, Tensor]:
    """Data as named columns, as training sees them."""
    if isinstance(data, Columns):
        with seeded(seed):
            data = data.batch()
    columns = data if isinstance(data, Mapping) else {"x": data}
    return {str(key): torch.as_tensor(column) for key, column in columns.items()}


def _compared(columns: Mapping[str, Tensor]) -> str:
    if "x" not in columns and len(columns) != 1:
        raise ValueError(
            f"data: expected a column 'x' to compare samples with, or one column; got {', '.join(columns)}"
        )
    return "x" if "x" in columns else next(iter(columns))


def _check_samples(samples: Tensor, data: Tensor) -> None:
    if samples.shape[1:] != data.shape[1:]:
        shapes = f"{tuple(samples.shape[1:])}, and a datum {tuple(data.shape[1:])}"
        raise ValueError(f"a sample has shape {shapes}: pass data that are prepared as the story's were")
    if bad := int((~samples.isfinite()).reshape(len(samples), -1).any(1).sum()):
        raise ValueError(f"{bad} of {len(samples)} samples are not finite: the story draws NaN or infinite values")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
