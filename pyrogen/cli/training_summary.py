"""What `train` prints of a finished run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyrogen.adversarial import detect_failures
from pyrogen.cli.convergence import describe_convergence
from pyrogen.cli.report.commands import keep_command
from pyrogen.data import Splits
from pyrogen.inference import Fit, active_units
from pyrogen.inference.restarts import restart_folder
from pyrogen.messages import printable

_ACTIVITY_ROWS = 1000


def summarize(runs: Sequence[Fit], splits: Splits, out: Path, epochs_before: int | None) -> None:
    """Print what was trained, with which result; `epochs_before`: those of the run where it was finished before.

    Args:
        runs: the run, and further ones from other starts.
        splits: their data.
        out: the directory of the first.
        epochs_before: epochs of a finished run that was resumed; None of any other.
    """
    run = runs[0]
    _compare_restarts(runs, splits, out)
    no_steps = run.story.unsupported.get("steps")
    if epochs_before == len(run.history):
        taken = f"after {_count(epochs_before, 'epoch')}; --epochs or --steps may be raised"
        why = taken if no_steps is None else f"and takes no steps: {no_steps}"
        print(printable(f"nothing to do: {out} is finished {why}"))
        return
    size = sum(parameter.numel() for parameter in run.story.trainable().values())
    parameters = f"{size:,} parameters" if size else "no parameters"
    verb = "trained" if no_steps is None else "fitted"
    print(printable(f"{verb} {run.story.name}, {parameters}, on {splits.train.rows:,} rows of {splits.name}"))
    if no_steps is not None:
        print(f"no steps: {no_steps}")
    if run.history:
        last = run.history[-1]
        steps = f"{_count(last['epoch'], 'epoch')}, {_count(last['step'], 'step')} ({_step_mode(run)})"
        print(f"{steps}, {last['seconds']:.1f} s{_best_epoch(run, splits)}")
        _print_adversarial(last)
    _print_active_units(run, splits)


def conclude(run: Fit, splits: Splits, out: Path, name: str, from_file: bool) -> None:
    """Keep the command that goes on with the run, and print unused columns, whether it has converged, and what is next.

    Args:
        run: the run.
        splits: its data.
        out: the run directory.
        name: of the story, as the command line gave it.
        from_file: whether the data are a file or folder of the user's.
    """
    keep_command(out)
    signatures = run.story.signatures()
    unused = [name for name in splits.train if not any(signature.accepts(name) for signature in signatures)]
    if unused and from_file:
        columns = ", ".join(signatures[0].columns)
        print(printable(f"not used: {', '.join(map(repr, unused))}; {run.story.name} takes {columns}"))
    if line := describe_convergence(run.history, run.best_epoch, splits.train):
        print(line)
    print(printable(f"kept in {out}"))
    own = f" --story {shlex.quote(name)}" if ".py" in name else ""
    print(printable(f"next: pyrogen evaluate {shlex.quote(str(out))}{own}"))


def _best_epoch(run: Fit, splits: Splits) -> str:
    """The best epoch on validation data, if weights were chosen by one."""
    if run.best_epoch is None:
        return ""
    best = run.history[run.best_epoch - 1]["validation_elbo"] - splits.log_scale
    scale = " on the scale of grey levels" if splits.log_scale else ""
    name = "objective" if "density" in run.story.unsupported else "ELBO"
    return f"; best validation {name} {best:.2f} nats{scale}, at epoch {run.best_epoch}"


def _print_adversarial(last: Mapping[str, Any]) -> None:
    """How generator and critic compare in the last epoch, for stories that have them, and their failures."""
    if "critic_accuracy" in last:
        print(
            f"critic scores a real datum above a generated one in {last['critic_accuracy']:.0%} of pairs (50 %: cannot "
            f"distinguish them); generated data are {last['diversity']:.0%} as diverse as real ones"
        )
    for failure in detect_failures(last):
        print(failure)


def _print_active_units(run: Fit, splits: Splits) -> None:
    """How many latents the posterior uses, for stories whose guide draws some for each datum; the usage of codes."""
    rows = torch.randperm(splits.train.rows, generator=torch.Generator().manual_seed(0))[:_ACTIVITY_ROWS]
    batch = splits.train.batch(rows)
    if hasattr(run.story, "usage"):
        print(f"{run.story.usage(batch['x'])} (over {len(rows):,} data)")
        return
    try:
        units = active_units(run, batch)
    except (RuntimeError, ValueError, IndexError):
        return  # a user's program that takes only the batches it was trained on
    if units.variance:
        collapsed = "; the posterior has collapsed: the latents do not depend on x"
        end = "" if any(units.active.values()) else collapsed
        about = f"variance of the posterior mean over {len(rows):,} data above 0.01"
        print(printable(f"active units {units} ({about}){end}"))


def _step_mode(run: Fit) -> str:
    """How steps were executed, why not compiled, and the time until the first one."""
    first = "" if run.first_step_seconds is None else f"first after {run.first_step_seconds:.1f} s"
    reason = f": {run.mode_reason}" if run.mode_reason else ""
    return "; ".join(part for part in (f"{run.mode}{reason}", first) if part)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _compare_restarts(runs: Sequence[Fit], splits: Splits, out: Path) -> None:
    """Print the ELBO of several starts, on validation data where there are some, and which is best."""
    if len(runs) < 2 or not runs[0].history:
        return
    elbos = [
        run.history[run.best_epoch - 1]["validation_elbo"] if run.best_epoch else run.history[-1]["train_elbo"]
        for run in runs
    ]
    best = max(range(len(runs)), key=elbos.__getitem__)
    listed = ", ".join(f"{elbo - splits.log_scale:.2f}" for elbo in elbos)
    kind = "validation ELBO" if runs[0].best_epoch else "ELBO of the last epoch"
    print(printable(f"{len(runs)} starts, {kind} {listed} nats per datum: the best is {restart_folder(out, best)}"))
