"""`pyrogen train`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from pyrogen.adversarial import AdversarialLoss, detect_failures
from pyrogen.catalog import Entry, find
from pyrogen.cli.data_protocol import needed, preparation, prepared, protocol_of
from pyrogen.cli.options import DataDir, Device, Seed
from pyrogen.cli.parsing import parse_objective, parse_pairs
from pyrogen.data import Columns, Splits, load
from pyrogen.inference import Fit, RunDirectory, active_units, adam, fit
from pyrogen.inference.program.rng import seeded
from pyrogen.plots import SampleStrip
from pyrogen.story import Labelled, Story

__all__ = ["train"]

Mode = Literal["static", "dynamic", "threshold", "none"]
Precision = Literal["float32", "bfloat16", "float64"]
_RATE = 1e-3
_LOOKED_AT = 1000
_IMAGES = 10


def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A story of `pyrogen list`, or path/to/file.py:Class.")],
    data: Annotated[str, typer.Option(metavar="DATA", help="Data of `pyrogen list`, or a path.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to keep the run in.")],
    data_dir: DataDir = None,
    binarize: Annotated[Mode | None, typer.Option(help="Else what the likelihood needs.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="How long; or --steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="How long; or --epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, metavar="B", help="Rows in a step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0, metavar="F", help="Learning rate of Adam.")] = None,
    objective: Annotated[str | None, typer.Option(metavar="O", help="elbo, meanfield, beta=4, iwae=50, ...")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of the story; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs to wait for a better one.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of a gradient.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of averaged weights, such as 0.999.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Of numbers.", show_default="float32")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch data that are missing.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Draw one row of images an epoch into strip.png.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no bar.")] = False,
) -> None:
    """Train a story on data, and keep the run in a folder."""
    if epochs is not None and steps is not None:
        raise typer.BadParameter("pass --epochs or --steps, not both", param_hint="'--steps'")
    asked: dict[str, Any] = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "patience": patience}
    asked |= {"clip_norm": clip_norm, "ema": ema, "precision": precision, "seed": seed, "device": device}
    entry, settings = find(name), parse_pairs("--set", setting or [])
    goal = {} if objective is None else {"objective": parse_objective(objective)}
    story, splits = _made(entry, settings, load(data, root=data_dir, download=download), binarize, seed)
    _check_objective(goal, story)
    options = {**_options(entry, asked), **goal, "callbacks": _strip(story, splits, out, strip)}
    columns = Columns(splits.train, splits.train.transform, protocol_of(splits, data, data_dir))
    before = _epochs_of_finished(RunDirectory(out)) if resume else None
    kept: dict[str, Any] = {"out": out, "resume": resume, "progress": not no_progress}
    run = fit(story, columns, validation=splits.validation, **kept, **options)
    _summarize(run, splits, out, name, before)


def _made(entry: Entry, settings: dict[str, Any], raw: Splits, binarize: str | None, seed: int) -> tuple[Story, Splits]:
    """The story, by the seed alone, and the data as its likelihood needs them."""

    def built() -> Story:
        with seeded(seed):
            told = {"event_shape": raw.event_shape, "classes": raw.classes, "levels": raw.levels}
            told["symbols"] = None if raw.alphabet is None else len(raw.alphabet)
            return entry.make(settings, **told, missing_labels=_missing_labels(raw), total=raw.train.rows)

    # Another instance is looked at, so that the story that trains is as its constructor left it.
    splits = prepared(raw, binarize or needed(built(), raw))
    because = "" if binarize else ", as the likelihood needs it"
    print(f"{entry.name} on {splits.name}, {preparation(splits)}{because}", flush=True)
    return built(), splits


def _missing_labels(splits: Splits) -> bool:
    """Whether a label is -1, which says that it is not known."""
    labels = [part["y"] for part in (splits.train, splits.validation, splits.test) if "y" in part]
    return any(y.dtype is torch.int64 and bool((y == -1).any()) for y in labels)


def _options(entry: Entry, asked: dict[str, Any]) -> dict[str, Any]:
    """Options of `fit`: those asked for, else those that suit the story."""
    options = dict(entry.training)
    if asked["steps"] is not None:
        options.pop("epochs", None)
    if isinstance(options.get("objective"), str):
        options["objective"] = parse_objective(options["objective"])
    options |= {name: value for name, value in asked.items() if value is not None}
    return {"optimizer": adam(options.pop("lr", _RATE), **options.pop("adam", {})), **options}


def _check_objective(goal: Mapping[str, Any], story: Story) -> None:
    """Refuse an objective that is asked for and no game, for a story of two players."""
    if goal and not isinstance(goal["objective"], AdversarialLoss):
        story.require("svi")


def _strip(story: Story, splits: Splits, out: Path, wanted: bool) -> list[SampleStrip]:
    """What draws images into the run folder after each epoch, of each class where the story is told one."""
    if not wanted:
        return []
    if len(splits.event_shape or ()) != 3:
        raise ValueError(
            f"--strip draws images, and those of {splits.name} have shape {splits.event_shape}: leave it out"
        )
    y = torch.arange(_IMAGES) % splits.classes if isinstance(story, Labelled) and splits.classes else None
    return [SampleStrip(out / "strip.png", _IMAGES, given={} if y is None else {"y": y})]


def _epochs_of_finished(folder: RunDirectory) -> int | None:
    """How many epochs a run has taken that is finished; None where there is none, or it is under way."""
    if not folder.can_resume:
        return None
    state, _ = folder.checkpoint()
    return len(state["history"]) if state["finished"] is not None else None


def _summarize(run: Fit, splits: Splits, out: Path, name: str, before: int | None) -> None:
    """What was trained, and what it came to; `before`: how many epochs a run had that was finished."""
    if before == len(run.history):
        print(f"nothing to do: {out} is finished {_end(run, before)}")
        return
    size = sum(parameter.numel() for parameter in run.story.trainable().values())
    without = run.story.unsupported.get("steps")
    how = "trained" if without is None else "fitted"
    kind = f"{size:,} parameters" if size else "no parameters"
    print(f"{how} {run.story.name}, {kind}, on {splits.train.rows:,} rows of {splits.name}")
    if without is not None:
        print(f"no steps: {without}")
    if run.history:
        last = run.history[-1]
        took = (
            f"{_count(last['epoch'], 'epoch')}, {_count(last['step'], 'step')} ({_mode(run)}), {last['seconds']:.1f} s"
        )
        print(f"{took}{_best(run, splits)}")
        _tell_game(last)
    _tell_activity(run, splits)
    print(f"kept in {out}")
    own = f" --story {shlex.quote(name)}" if ".py" in name else ""
    print(f"next: pyrogen evaluate {shlex.quote(str(out))}{own}")


def _best(run: Fit, splits: Splits) -> str:
    """The best epoch on validation data, if weights were chosen by one."""
    if run.best_epoch is None:
        return ""
    best = run.history[run.best_epoch - 1]["validation_elbo"] - splits.log_scale
    scale = " on the scale of grey levels" if splits.log_scale else ""
    what = "objective" if "density" in run.story.unsupported else "ELBO"
    return f"; best validation {what} {best:.2f} nats{scale}, at epoch {run.best_epoch}"


def _tell_game(last: Mapping[str, Any]) -> None:
    """How two players stand, where there are two, and what ails them."""
    if "critic_accuracy" in last:
        told = (
            f"scores a real datum above a generated one in {last['critic_accuracy']:.0%} of pairs (50 %: cannot tell)"
        )
        print(f"critic {told}; generated data are {last['diversity']:.0%} as diverse as real ones")
    for ailing in detect_failures(last):
        print(ailing)


def _end(run: Fit, epochs: int) -> str:
    """Where a finished run stands."""
    without = run.story.unsupported.get("steps")
    if without is not None:
        return f"and takes no steps: {without}"
    return f"after {_count(epochs, 'epoch')}; --epochs or --steps may be raised"


def _tell_activity(run: Fit, splits: Splits) -> None:
    """How many latents the posterior uses, for stories whose guide draws some for each datum; codes, as they tell."""
    rows = torch.randperm(splits.train.rows, generator=torch.Generator().manual_seed(0))[:_LOOKED_AT]
    batch = splits.train.batch(rows)
    if hasattr(run.story, "usage"):
        print(f"{run.story.usage(batch['x'])} (over {len(rows):,} data)")
        return
    try:
        found = active_units(run, batch)
    except (RuntimeError, ValueError, IndexError):
        return  # a user's program that takes none but the batches it was trained on
    if found.variance:
        told = "" if any(found.active.values()) else "; the posterior has collapsed: no latent tells data apart"
        print(f"active units {found} (the posterior mean's variance over {len(rows):,} data is above 0.01){told}")


def _mode(run: Fit) -> str:
    """How steps were taken, why not compiled, and how long the first one took to come."""
    first = "" if run.first_step_seconds is None else f"first after {run.first_step_seconds:.1f} s"
    why = f": {run.mode_reason}" if run.mode_reason else ""
    return "; ".join(part for part in (f"{run.mode}{why}", first) if part)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
