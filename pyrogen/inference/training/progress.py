"""Progress of a run on a terminal; nothing where there is none."""

from __future__ import annotations

import sys
from types import TracebackType

from pyrogen.inference.program.rng import preserve_random_state

__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar with steps done, rate, time left and the current ELBO, on standard error.

    Args:
        total: steps in the run, where known.
        done: steps done before.
        shown: whether to show it; it stays quiet all the same where standard error is no terminal.
        bound: whether what is shown is an ELBO, not minus some other loss.
    """

    def __init__(self, total: int | None, done: int, shown: bool, bound: bool = True) -> None:
        # Where they are needed: a fifth of what `import pyrogen` would take. They draw a number on the way in.
        with preserve_random_state():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bound = bound
        self.steps = self.start = done
        self.elbo: float | None = None
        columns = (
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[elbo]}"),
        )
        console = Console(file=sys.stderr)
        self.bar = Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))
        self.task = self.bar.add_task("", total=total, completed=done, what="training", rate="", elbo="")

    def __enter__(self) -> ProgressBar:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, epoch: int, elbo: float) -> None:
        """One step is done."""
        self.steps += 1
        # A running mean over some 20 steps: one batch says little.
        self.elbo = elbo if self.elbo is None else 0.95 * self.elbo + 0.05 * elbo
        if not self.bar.disable:
            speed = self.bar.tasks[self.task].speed
            rate = f"{speed:.0f}/s" if speed else ""
            text = f"ELBO {self.elbo:.2f} nats" if self.bound else f"loss {-self.elbo:.3f}"
            self.bar.update(self.task, completed=self.steps, what=f"epoch {epoch}", rate=rate, elbo=text)
