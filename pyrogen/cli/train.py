"""`pyrogen train`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from pyrogen.adversarial import AdversarialLoss
from pyrogen.catalog import Entry, find
from pyrogen.cli.convergence import check_divergence
from pyrogen.cli.data_protocol import (
    build_protocol,
    check_columns_of,
    check_data_dir,
    describe_preparation,
    prepare,
    print_notes,
    required_preparation,
)
from pyrogen.cli.options import DataDir, Device, Seed, path_option
from pyrogen.cli.parsing import parse_objective, parse_pairs
from pyrogen.cli.training_summary import conclude, summarize
from pyrogen.data import Columns, Splits
from pyrogen.data.registry import is_downloadable, is_known, read
from pyrogen.inference import Fit, RunDirectory, adam, fit, fit_restarts
from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.inference.program.rng import seeded
from pyrogen.messages import printable
from pyrogen.plots import SampleStrip
from pyrogen.story import Labelled, Story


def _finite(value: float | None) -> float | None:
    """Check that an option's number is finite, for Typer."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a finite number, got {value}")
    return value


def _positive(value: float | None) -> float | None:
    """Check that an option's number is finite and above 0, for Typer."""
    if value == 0:
        raise typer.BadParameter("expected a number above 0, got 0")
    return _finite(value)


def _between(value: float | None) -> float | None:
    """Check that an option's number lies between 0 and 1, for Typer."""
    if value in (0, 1):
        raise typer.BadParameter(f"it must lie between 0 and 1, such as 0.999, got {value:g}")
    return _finite(value)


Binarize = Annotated[
    Literal["static", "dynamic", "threshold", "none"] | None,
    typer.Option(help="How to binarize grey levels; by default what the likelihood needs.", show_default=False),
]
LearningRate = Annotated[
    float | None, typer.Option(min=0, callback=_finite, metavar="F", help="Learning rate of Adam.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the story, see `pyrogen list`; repeatable."),
]
Patience = Annotated[
    int | None, typer.Option(min=1, help="Epochs without improvement on validation data to stop after.")
]
ClipNorm = Annotated[float | None, typer.Option(min=0, callback=_positive, help="Largest norm of the gradient.")]
Decay = Annotated[
    float | None, typer.Option(min=0, max=1, callback=_between, help="Decay of averaged weights, such as 0.999.")
]
Restarts = Annotated[
    int, typer.Option(min=1, metavar="R", help="Runs from several starts; further ones in DIR/restart_2, ...")
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float64"] | None,
    typer.Option(help="Precision of the computation.", show_default="float32"),
]

_LEARNING_RATE = 1e-3
_STRIP_IMAGES = 10


def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A story of `pyrogen list`, or path/to/file.py:Class.")],
    data: Annotated[str, typer.Option(metavar="DATA", help="Data of `pyrogen list`, or a path.")],
    out: Annotated[Path, typer.Option(parser=path_option, metavar="DIR", help="Directory of the run.")],
    data_dir: DataDir = None,
    binarize: Binarize = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the data; or --steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Optimizer steps; or --epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, metavar="B", help="Rows in a step.")] = None,
    lr: LearningRate = None,
    objective: Annotated[str | None, typer.Option(metavar="O", help="elbo, meanfield, beta=4, iwae=50, ...")] = None,
    restarts: Restarts = 1,
    seed: Seed = 0,
    device: Device = "auto",
    setting: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    patience: Patience = None,
    clip_norm: ClipNorm = None,
    ema: Decay = None,
    precision: Precision = None,
    download: Annotated[bool, typer.Option("--download", help="Download missing data.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Draw a row of samples each epoch into strip.png.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")] = False,
) -> None:
    """Train a story on data, and keep the run in a directory."""
    given: dict[str, Any] = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "ema": ema}
    given |= {"patience": patience, "clip_norm": clip_norm, "precision": precision, "strip": strip or None}
    options = _given(given, objective)
    entry, settings, raw = find(name), parse_pairs("--set", setting or []), _read(data, data_dir, download, device)
    splits = _prepare(entry, settings, raw, binarize, seed, options)
    columns = Columns(splits.train, splits.train.transform, build_protocol(splits, data, data_dir))
    epochs_before = _epochs_of_finished(RunDirectory(out)) if resume else None
    callbacks = [_strip(_build(entry, settings, raw, seed), splits, out)] if options.pop("strip", False) else []
    options = _fit_options(entry, options) | {"out": out, "resume": resume, "seed": seed, "device": device}
    options |= {"progress": not no_progress, "callbacks": callbacks, "validation": splits.validation}
    build, several = _builder(entry, settings, raw, seed), restarts > 1
    fits = fit_restarts(build, columns, restarts, **options) if several else [fit(build(), columns, **options)]
    summarize(fits, splits, out, epochs_before)
    _check_divergence(fits[0], columns, options, _builder(entry, settings, raw, seed))
    if epochs_before != len(fits[0].history):
        conclude(fits[0], splits, out, name, from_file=not is_known(data))


def _given(options: Mapping[str, Any], objective: str | None) -> dict[str, Any]:
    """The options that were given."""
    given = {option: value for option, value in options.items() if value is not None}
    return given if objective is None else given | {"objective": parse_objective(objective)}


def _read(data: str, data_dir: Path | None, download: bool, device: str) -> Splits:
    """The data as they are."""
    resolve_device(device)  # refused before anything is read
    if download and not is_downloadable(data):
        raise typer.BadParameter(
            f"it has no effect with --data {data}, which is not downloaded: leave it out", param_hint="'--download'"
        )
    check_data_dir(data, data_dir)
    return read(data, data_dir, download)


def _check_divergence(run: Fit, columns: Columns, options: Mapping[str, Any], build: Callable[[], Story]) -> None:
    """Fail where the run ended far worse than it began."""
    if not getattr(options.get("objective"), "warmup", None):  # whose ELBO falls as the KL divergence gains weight
        check_divergence(run.history, columns, partial(_first_elbo, build, columns, options))


def _first_elbo(build: Callable[[], Story], columns: Columns, options: Mapping[str, Any]) -> float:
    """The ELBO of the first step: that of a run of one step which changes nothing."""
    one = {key: value for key, value in options.items() if key in {"batch_size", "objective", "precision", "seed"}}
    return fit(build(), columns, steps=1, optimizer=adam(1e-30), progress=False, **one).history[0]["train_elbo"]


def _build(entry: Entry, settings: dict[str, Any], raw: Splits, seed: int) -> Story:
    """The story as the settings and the data determine it, its weights drawn by the seed alone."""
    check_columns_of(entry, settings, raw)
    from_data = {"event_shape": raw.event_shape, "classes": raw.classes, "levels": raw.levels}
    from_data["symbols"] = None if raw.alphabet is None else len(raw.alphabet)
    with seeded(seed):
        return entry.make(settings, **from_data, missing_labels=_has_missing_labels(raw), total=raw.train.rows)


def _builder(entry: Entry, settings: dict[str, Any], raw: Splits, seed: int) -> Callable[[], Story]:
    """A function that makes another story at each call, with the next seed."""
    seeds = itertools.count(seed)
    return lambda: _build(entry, settings, raw, next(seeds))


def _prepare(
    entry: Entry, settings: dict[str, Any], raw: Splits, binarize: str | None, seed: int, options: Mapping[str, Any]
) -> Splits:
    """The data as the likelihood needs them. The story that runs for this is not the one that is trained."""
    story = _build(entry, settings, raw, seed)
    _check_options(story, options)
    splits = prepare(raw, binarize or required_preparation(story, raw), seed)
    reason = "" if binarize else ", as the likelihood needs it"
    print(printable(f"{entry.name} on {splits.name}, {describe_preparation(splits)}{reason}"), flush=True)
    print_notes(splits)
    return splits


def _check_options(story: Story, options: Mapping[str, Any]) -> None:
    """Refuse options that exclude each other, or that the story cannot take: those of optimizer steps, or of SVI."""
    if {"epochs", "steps"} <= options.keys():
        raise typer.BadParameter("pass --epochs or --steps, not both", param_hint="'--steps'")
    reason = story.unsupported.get("steps")
    for name, value in options.items() if reason is not None else ():
        if name != "precision" or value == "bfloat16":  # of training steps; float64 is that of the fit too
            raise typer.BadParameter(
                f"it has no effect, as {story.name} takes no steps ({reason}): leave it out",
                param_hint=f"'--{name.replace('_', '-')}'",
            )
    if "objective" in options and not isinstance(options["objective"], AdversarialLoss):
        story.require("svi")
        no_latents = story.unsupported.get("guide")
        if no_latents is not None and options["objective"] is not None:
            raise typer.BadParameter(
                f"it has no effect, as there is nothing to weigh in {story.name} ({no_latents}): leave it out",
                param_hint="'--objective'",
            )


def _has_missing_labels(splits: Splits) -> bool:
    """Whether a label is -1, which stands for an unknown one."""
    labels = [part["y"] for part in (splits.train, splits.validation, splits.test) if "y" in part]
    return any(y.dtype is torch.int64 and bool((y == -1).any()) for y in labels)


def _fit_options(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `fit`: those given, else those that suit the story."""
    suited = dict(entry.training)
    if "steps" in options:
        suited.pop("epochs", None)
    if isinstance(suited.get("objective"), str):
        suited["objective"] = parse_objective(suited["objective"])
    merged = {**suited, **options}
    return {"optimizer": adam(merged.pop("lr", _LEARNING_RATE), **merged.pop("adam", {})), **merged}


def _strip(story: Story, splits: Splits, out: Path) -> SampleStrip:
    """What draws images into the run directory after each epoch, one of each class where the story is given labels."""
    if len(splits.event_shape or ()) != 3:
        raise ValueError(
            f"--strip draws images, and those of {splits.name} have shape {splits.event_shape}: leave it out"
        )
    y = torch.arange(_STRIP_IMAGES) % splits.classes if isinstance(story, Labelled) and splits.classes else None
    return SampleStrip(out / "strip.png", _STRIP_IMAGES, given={} if y is None else {"y": y})


def _epochs_of_finished(directory: RunDirectory) -> int | None:
    """The number of epochs of a finished run; None where there is no run, or an unfinished one."""
    if not directory.can_resume:
        return None
    state, _ = directory.checkpoint()
    return len(state["history"]) if state["finished"] is not None else None
