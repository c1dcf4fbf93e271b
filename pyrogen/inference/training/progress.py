"""Progress of a run on a terminal."""

from __future__ import annotations

import sys
from typing import Any

from pyrogen.inference.program.rng import preserve_random_state


class ProgressBar:
    """A bar with steps done, rate, time left and the current ELBO, on standard error.

    Args:
        total: steps of the run, where known.
        done: steps taken before.
        shown: whether to show it; nothing is shown where standard error is not a terminal.
        bound: whether the number shown is an ELBO, rather than minus some other loss; True by default.
    """

    def __init__(self, total: int | None, done: int, shown: bool, bound: bool = True) -> None:
        self.bound = bound
        self.steps = self.start = done
        self.elbo: float | None = None
        self._bar = _bar() if shown and sys.stderr.isatty() else None
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total, completed=done, what="training", rate="", elbo="")

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, epoch: int, elbo: float) -> None:
        """Count one step.

        Args:
            epoch: number of the epoch, from 1.
            elbo: of the step, in nats per datum; a running mean over some 20 steps is shown.
        """
        self.steps += 1
        self.elbo = elbo if self.elbo is None else 0.95 * self.elbo + 0.05 * elbo
        if self._bar is not None:
            speed = self._bar.tasks[self._task].speed
            rate = f"{speed:.0f}/s" if speed else ""
            text = f"ELBO {self.elbo:.2f} nats" if self.bound else f"loss {-self.elbo:.3f}"
            self._bar.update(self._task, completed=self.steps, what=f"epoch {epoch}", rate=rate, elbo=text)


def _bar() -> Any:
    """The bar itself."""
    # Imported here: they would be a fifth of `import pyrogen`. Importing them draws from Python's generator.
    with preserve_random_state():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    columns = (
        TextColumn("{task.fields[what]}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[elbo]}"),
    )
    return Progress(*columns, console=Console(file=sys.stderr), transient=True)
