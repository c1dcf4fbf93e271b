"""`pyrogen diagnose`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from pyrogen.cli.data_protocol import mode_of, preparation, rebuilt
from pyrogen.cli.open_run import opened
from pyrogen.cli.options import DataDir, Device, Directory, Seed, StoryFile
from pyrogen.cli.report import page
from pyrogen.data import Splits
from pyrogen.diagnostics import GROUPS, Diagnosis, diagnose, to_datatree
from pyrogen.inference import Fit
from pyrogen.inference.program.rng import seeded
from pyrogen.plots import diagnostic_figures, image_grid, ink, sample_neighbours, save_picture, training_curve

__all__ = ["diagnose_run"]

_DRAWS = 100
"""Kept in posterior.nc, for as many data as make 2^21 numbers of a group."""

_NUMBERS = 2**21
_SMALL = tuple(group for group in GROUPS if not group.endswith("predictive"))
_SHOWN = 32
"""Images in a picture."""


def diagnose_run(
    directory: Directory,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write; else DIR/diagnosis.")] = None,
    budget: Annotated[
        Literal["quick", "standard", "thorough"], typer.Option(help="How long it may take: seconds, minutes, longer.")
    ] = "standard",
    seed: Seed = 0,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="Other data, prepared alike.")] = None,
    data_dir: DataDir = None,
    story: StoryFile = None,
    device: Device = "auto",
) -> None:
    """Say whether a trained story can be believed: summary.json, report.html, pictures, posterior.nc."""
    folder = directory / "diagnosis" if out is None else out
    run = opened(directory, story, device)
    splits = rebuilt(run.story, run.config, data, data_dir)
    with seeded(splits.seed):
        columns, training = splits.test.batch(), splits.train.batch()
    with _progress() as progress:
        found = diagnose(run, columns, training=training, budget=budget, seed=seed, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(run, found, training)
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)
    refused = _write_posterior(run, found, training if _of_training(found) else columns, folder / "posterior.nc", seed)
    protocol = {**found.protocol, **_protocol(splits, found, directory)}
    found = replace(found, protocol=protocol, skipped={**found.skipped, **refused})
    about = f"{found.protocol['n']:,} rows of {splits.name}, {found.protocol['split']} split, {preparation(splits)}"
    (folder / "report.html").write_text(page(found, pictures, about), encoding="utf-8")
    # Last, so that whoever finds it finds the rest as well.
    (folder / "summary.json").write_text(
        json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    print(f"{found}\nkept in {folder}: open {folder / 'report.html'}")


@contextmanager
def _progress() -> Iterator[Any]:
    """Which test is under way, on a terminal."""
    console = Console(file=sys.stderr)
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, of: bar.update(task, description=name, completed=done, total=of)


def _of_training(found: Diagnosis) -> bool:
    """Whether it was the training data's posterior that was examined."""
    return bool(found.protocol["of"] == "training data")


def _protocol(splits: Splits, found: Diagnosis, directory: Path) -> dict[str, Any]:
    told = {"run": str(directory), "data": splits.name, "split": "train" if _of_training(found) else "test"}
    return {**told, "binarize": mode_of(splits.protocol()), "log_scale": splits.log_scale}


def _pictures(run: Fit, found: Diagnosis, training: dict[str, Tensor]) -> dict[str, bytes]:
    """PNG files by name: those of the results, images, and the run's."""
    made: dict[str, Any] = dict(diagnostic_figures(found))
    samples, x = found.results.get("samples"), found.results["columns"].get("x")
    if samples is not None and _is_image(samples):
        made["samples"] = sample_neighbours(samples[: _SHOWN // 4], training["x"])
    if x is not None and _is_image(x) and "typicality" in found.results:
        worst = found.results["typicality"].log_likelihood.argsort()[:_SHOWN]
        made["worst"] = image_grid(x[worst.tolist()], columns=_SHOWN // 2)
    if run.history:
        with ink():
            made["training"] = training_curve(run)
    return {name: _png(picture) for name, picture in made.items()}


def _png(picture: Any) -> bytes:
    """A figure of Matplotlib, or pixels, as a file."""
    buffer = io.BytesIO()
    if hasattr(picture, "savefig"):
        picture.savefig(buffer, dpi=130)
    else:
        save_picture(buffer, picture)
    return buffer.getvalue()


def _is_image(column: Any) -> bool:
    return isinstance(column, Tensor) and column.dim() == 4 and column.shape[1] in (1, 3)


def _write_posterior(run: Fit, found: Diagnosis, columns: dict[str, Tensor], path: Path, seed: int) -> dict[str, str]:
    """What the story has of ArviZ's groups: of all training data where they share latents, else of the first few."""
    numbers = sum(column[:1].nelement() for column in columns.values()) * _DRAWS
    rows = len(next(iter(columns.values())))
    groups: tuple[str, ...] = GROUPS
    if _of_training(found):
        groups = GROUPS if rows * numbers < _NUMBERS else _SMALL
    else:
        rows = max(1, min(rows, _NUMBERS // numbers))
    try:
        tree = to_datatree(run, {name: c[:rows] for name, c in columns.items()}, _DRAWS, seed=seed, groups=groups)
    except ValueError as refusal:
        return {path.name: " ".join(str(refusal).split())}
    tree.to_netcdf(path)
    return {}
