"""`pyrogen diagnose`."""

from __future__ import annotations

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

from pyrogen.cli.data_protocol import describe_preparation, preparation_mode, reload_data
from pyrogen.cli.open_run import load_run
from pyrogen.cli.options import DataDir, Device, Directory, Seed, StoryFile, path_option
from pyrogen.cli.report.commands import Commands
from pyrogen.cli.report.html_page import page
from pyrogen.cli.report.pictures import report_pictures
from pyrogen.data import Splits
from pyrogen.diagnostics import GROUPS, Diagnosis, diagnose, to_datatree
from pyrogen.diagnostics.report.examination import is_image
from pyrogen.inference import Fit
from pyrogen.inference.program.rng import seeded
from pyrogen.inference.restarts import restarts_in
from pyrogen.messages import printable, writing

_DRAWS = 100
"""Draws kept in posterior.nc."""

_NUMBERS = 2**21
"""Largest number of values of a group in posterior.nc; it determines the number of rows."""

_SMALL = tuple(group for group in GROUPS if not group.endswith("predictive"))


def diagnose_run(
    directory: Directory,
    out: Annotated[
        Path | None, typer.Option(parser=path_option, metavar="DIR", help="Output folder; by default DIR/diagnosis.")
    ] = None,
    budget: Annotated[
        Literal["quick", "standard", "thorough"],
        typer.Option(help="How much to compute: seconds, minutes, or longer."),
    ] = "standard",
    purposes: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="PURPOSE", help="The use to judge, repeatable: samples, likelihood, posterior."),
    ] = None,
    seed: Seed = 0,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other data, preprocessed as in training; by default the run's.")
    ] = None,
    data_dir: DataDir = None,
    story: StoryFile = None,
    device: Device = "auto",
) -> None:
    """Check whether a trained story can be believed; write summary.json, report.html, pictures and posterior.nc."""
    folder = directory / "diagnosis" if out is None else out
    run = load_run(directory, story, device)
    splits = reload_data(run.story, run.config, data, data_dir)
    with seeded(splits.seed):
        columns, training = splits.test.batch(), splits.train.batch()
    starts = [load_run(other, story, device) for other in restarts_in(directory)]
    options: dict[str, Any] = {"budget": budget, "purposes": purposes or (), "seed": seed}
    with _progress() as progress:
        diagnosis = diagnose([run, *starts], columns, training=training, progress=progress, **options)
    of_training = diagnosis.protocol["examined"] == "training data"
    rows = training if of_training else columns
    pictures = report_pictures(run, diagnosis, rows, training, seed)
    _write(folder, {f"{name}.png": png for name, png in pictures.items()})
    refused = _write_posterior(run, rows, of_training, folder / "posterior.nc", seed)
    diagnosis = replace(diagnosis, skipped={**diagnosis.skipped, **refused})
    images, trainable = is_image(rows.get("x")), "steps" not in run.story.unsupported
    commands = Commands(directory, story, data, data_dir, of_training, images, len(starts), trainable)
    _report(folder, commands.filled(_described(diagnosis, directory, splits)), pictures, commands, splits)


def _described(diagnosis: Diagnosis, directory: Path, splits: Splits) -> Diagnosis:
    """A diagnosis whose protocol names run and data."""
    split = "train" if diagnosis.protocol["examined"] == "training data" else "test"
    preparation = preparation_mode(splits.protocol())
    about = {"run": str(directory), "data": splits.name, "split": split, "binarize": preparation}
    return replace(diagnosis, protocol={**diagnosis.protocol, **about, "log_scale": splits.log_scale})


def _report(folder: Path, diagnosis: Diagnosis, pictures: dict[str, bytes], commands: Commands, splits: Splits) -> None:
    """Write page and summary, and print the diagnosis."""
    about = diagnosis.protocol
    examined = f"{about['n']:,} rows of {splits.name}, {about['split']} split, {describe_preparation(splits)}"
    _write_report(folder, diagnosis, pictures, examined, commands.preparation)
    in_python = _in_python(diagnosis, commands)
    print(printable(f"{diagnosis}\n{in_python}saved in {folder}: open {folder / 'report.html'}"))


def _in_python(diagnosis: Diagnosis, commands: Commands) -> str:
    """What lines of Python among the remedies take, if there are some."""
    if all(remedy.line for finding in diagnosis.findings for remedy in finding.remedies):
        return ""
    return "\n    ".join(["lines of Python go on from:", *commands.preparation]) + "\n"


def _write_report(
    folder: Path, diagnosis: Diagnosis, pictures: dict[str, bytes], examined: str, preparation: list[str]
) -> None:
    """Write page and summary, the summary last: where this file exists, the others do too."""
    summary = json.dumps(diagnosis.to_dict(), indent=2, allow_nan=False)
    files = {"report.html": page(diagnosis, pictures, examined, preparation), "summary.json": f"{summary}\n"}
    _write(folder, {name: text.encode() for name, text in files.items()})


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files, by their names, into a folder, which is made if need be."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with writing(folder / name):
            (folder / name).write_bytes(content)


@contextmanager
def _progress() -> Iterator[Any]:
    """A progress bar with the name of the current check, on a terminal."""
    console = Console(file=sys.stderr)
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, of: bar.update(task, description=name, completed=done, total=of)


def _write_posterior(run: Fit, columns: dict[str, Tensor], whole: bool, path: Path, seed: int) -> dict[str, str]:
    """Write ArviZ's groups, of all data (`whole`) or of the first ones; the reason, where there are none."""
    numbers = sum(column[:1].nelement() for column in columns.values()) * _DRAWS
    rows = len(next(iter(columns.values())))
    groups = _SMALL if whole and rows * numbers >= _NUMBERS else GROUPS
    if not whole:
        rows = max(1, min(rows, _NUMBERS // numbers))
    try:
        tree = to_datatree(run, {name: c[:rows] for name, c in columns.items()}, _DRAWS, seed=seed, groups=groups)
        with writing(path):
            tree.to_netcdf(path)
    except ValueError as refusal:  # also of netCDF, for names that it cannot hold
        return {path.name: " ".join(str(refusal).split())}
    return {}
