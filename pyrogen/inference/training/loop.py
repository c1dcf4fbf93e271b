"""The training loop: epochs of steps, records, best weights, early stopping, checkpoints that resume to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import Batches
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.program.rng import get_random_state, set_random_state
from pyrogen.inference.training.progress import ProgressBar
from pyrogen.inference.training.stopping import StoppingCriterion
from pyrogen.inference.training.training_step import TrainingStep
from pyrogen.story import Batch

__all__ = ["TOGETHER", "WAITING", "Loop"]

EPOCH_END_SECONDS = 2.0
"""Checkpoints at the ends of epochs are at least so far apart."""
WAITING = 50
"""Losses on CUDA that are looked at together."""
TOGETHER = 100
"""Steps on whole data that are taken in one go where nobody looks between them."""
MIDDLE_SECONDS = 60.0
"""An epoch longer than this is checkpointed in its middle."""


class Loop:
    """Training, from wherever it stands to its limit.

    Args:
        steps: what is driven.
        batches: the training data.
        limit: how long.
        run_steps: takes up to so many steps on one batch, if it can, and gives their losses: for epochs of one step that
            nobody looks at in between.
        validate: the validation ELBO in nats per datum, if there is validation data.
        folder: where the run is kept, if anywhere.
        config: what config.json says.
        report: called with each epoch's record; True ends the run.
        about: what the weights file should tell of itself.
        progress: whether to show a bar on a terminal.
    """

    def __init__(
        self,
        steps: TrainingStep,
        batches: Batches,
        limit: StoppingCriterion,
        *,
        run_steps: Callable[[Batch, int], list[float]] | None = None,
        validate: Callable[[], float] | None = None,
        folder: RunDirectory | None = None,
        config: dict[str, Any] | None = None,
        report: Callable[[dict[str, Any]], bool] | None = None,
        about: Callable[[], dict[str, Any]] | None = None,
        progress: bool = True,
    ) -> None:
        self.steps, self.batches, self.limit = steps, batches, limit
        self.run_steps, self.validate = run_steps, validate
        self.folder, self.config = folder, config or {}
        self.report, self.about, self.progress = report or (lambda _: False), about or dict, progress
        self.history: list[dict[str, Any]] = []
        self.step = self.epoch = 0
        self.best: dict[str, Tensor] | None = None
        self.best_epoch: int | None = None
        self.finished: str | None = None
        self._sum, self._rows, self._seconds, self._started = 0.0, 0, 0.0, 0.0
        self._losses: list[tuple[Tensor | float, int]] = []  # with their rows, not added up yet
        self._elbo = 0.0
        self._saved = time.monotonic()
        self._begun = False
        self._reopen: dict[str, Any] | None = None

    def run(self) -> None:
        """Train to the limit, and leave the selected weights in place: best on validation, else averaged, else last."""
        if self.finished is None and not self._left():
            self.finished = "limit"
            if not self.history:
                self.save()
        bar = ProgressBar(self.limit.total(self.batches.steps), self.step, self.progress, self.steps.elbo)
        self._started = time.monotonic() - self._seconds
        with bar:
            while self.finished is None:
                if not self._take_epochs(bar):
                    self._take_epoch(bar)
        self._select()

    def _take_epoch(self, bar: ProgressBar) -> None:
        for batch in self.batches.epoch():
            self._take(batch, bar)
            self._seconds = time.monotonic() - self._started
            if self.limit.cuts(self.step):
                break
            self._checkpoint_in_the_middle()
        self._close_epoch()

    def _take_epochs(self, bar: ProgressBar) -> bool:
        """Epochs of one step on the same batch, and their records, in one go; whether there were any."""
        batch = self.batches.whole
        if self.run_steps is None or batch is None:
            return False
        losses = self.run_steps(batch, min(TOGETHER, self._left()))
        self._seconds = time.monotonic() - self._started
        for loss in losses:
            self._sum, self._rows = -loss * batch.n, batch.n
            self.step += 1
            self.epoch += 1
            self.history.append(self._told())
            bar.advance(self.epoch, -loss)
        if losses:
            if self.folder is not None:
                self.folder.append(*self.history[-len(losses) :])
            self._end_epochs()
        return bool(losses)

    def _take(self, batch: Batch, bar: ProgressBar) -> None:
        within = self._rows / self.batches.rows if self.batches.rows else 0.0
        loss = self.steps(batch, self.epoch + within)
        self._begin()
        self._losses.append((loss, batch.n))
        if isinstance(loss, float) or len(self._losses) >= WAITING:
            self._add_up()
        self._rows += batch.n
        self.step += 1
        bar.advance(self.epoch + 1, self._elbo)

    def _add_up(self) -> None:
        """Add up the losses that came since the last time: on CUDA a look at them waits for the device."""
        self.steps.synchronize()
        for loss, rows in self._losses:
            self._elbo = -float(loss)
            self._sum += self._elbo * rows
        self._losses.clear()

    def _begin(self) -> None:
        """Make the folder, once the first step has shown that there is a run to keep."""
        if self.folder is not None and not self._begun:
            self.folder.begin(self.config)
        self._begun = True

    def _close_epoch(self) -> None:
        # An epoch that the limit cuts is gone on with, should a resumed run have a later limit.
        self._add_up()
        cut = {"partial": (self._sum, self._rows), "best": self.best, "best_epoch": self.best_epoch}
        self.batches.close()
        self._reopen = cut if self.batches.cut else None
        self.epoch += 1
        self._end_epochs(stop=self._record())

    def _end_epochs(self, stop: bool = False) -> None:
        """Whether the run ends here, and a checkpoint if it is time for one."""
        patience = self.limit.patience
        if stop:
            self.finished = "callback"
        elif patience is not None and self.epoch - (self.best_epoch or 0) >= patience:
            self.finished = "patience"
        elif not self._left():
            self.finished = "limit"
        if self.finished or time.monotonic() - self._saved > EPOCH_END_SECONDS:
            self.save()

    def _record(self) -> bool:
        """Tell of the epoch, the averaged weights in place where they are kept; whether a callback ends the run."""
        if self.validate is not None:
            self._check_finite()
        with self._averaged():
            record = self._told(None if self.validate is None else self.validate())
            if self.validate is not None:
                self._keep_best(record)
            self.history.append(record)
            if self.folder is not None:
                self.folder.append(record)
            return self.report(record)

    def _told(self, validation_elbo: float | None = None) -> dict[str, Any]:
        """The record of an epoch that is done."""
        train = {"train_elbo": self._sum / self._rows} if self.steps.elbo else {}
        held_out = {} if validation_elbo is None else {"validation_elbo": validation_elbo}
        self._sum, self._rows = 0.0, 0
        seconds = {"seconds": round(self._seconds, 3)}
        return {"epoch": self.epoch, "step": self.step, **train, **held_out, **seconds, **self.steps.figures()}

    def _keep_best(self, record: dict[str, Any]) -> None:
        before = -math.inf if self.best_epoch is None else self.history[self.best_epoch - 1]["validation_elbo"]
        if math.isfinite(record["validation_elbo"]) and record["validation_elbo"] > before:
            self.best_epoch = self.epoch
            self.best = {name: tensor.detach().clone() for name, tensor in self.steps.weights().items()}

    def _left(self) -> int:
        return self.limit.left(self.step, self.epoch)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in place of the last ones."""
        averages, live = self.steps.averages(), self.steps.weights()
        if averages is None:
            yield
            return
        last = {name: live[name].detach().clone() for name in averages}
        _put(live, averages)
        try:
            yield
        finally:
            _put(live, last)

    def selected(self) -> dict[str, Tensor]:
        """The weights that `load` should read."""
        if self.best is not None:
            return self.best
        return {**self.steps.weights(), **(self.steps.averages() or {})}

    def _select(self) -> None:
        _put(self.steps.weights(), self.selected())

    def _check_finite(self) -> None:
        bad = [n for n, t in self.steps.weights().items() if t.is_floating_point() and not torch.isfinite(t).all()]
        if bad:
            raise FloatingPointError(
                f"parameter '{bad[0]}' is not finite after step {self.step}: lower the rate or pass clip_norm="
                + ("; the last checkpoint is kept" if self.folder is not None else "")
            )

    def _checkpoint_in_the_middle(self) -> None:
        if self.folder is not None and self.batches.exact and time.monotonic() - self._saved > MIDDLE_SECONDS:
            self._add_up()
            self.save()

    def save(self) -> None:
        """Write the checkpoint, then the weights, if they are finite."""
        self._check_finite()
        if self.folder is not None:
            self._begin()
            self.folder.write_checkpoint(self.state(), self.config)
            self.folder.write_weights(self.selected(), self.config, **self.about())
        self._saved = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Everything that the run depends on from here."""
        return {
            "weights": self.steps.weights(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "steps": self.steps.state(),
            "batches": self.batches.state(),
            "random": get_random_state(),
            "step": self.step,
            "epoch": self.epoch,
            "partial": (self._sum, self._rows, self._seconds),
            "history": self.history,
            "finished": self.finished,
            "reopen": self._reopen,
            "about": self.about(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; what is trained is set up already."""
        live = self.steps.weights()
        unknown = sorted(set(state["weights"]) - set(live))
        if unknown:
            raise ValueError(
                f"resume: parameter '{unknown[0]}' is made only later than the first step, and cannot be restored: "
                "make all parameters in the first step"
            )
        _put(live, state["weights"])
        self.steps.restore(state["steps"])
        self.batches.restore(state["batches"])
        device = next((t.device for t in self.steps.weights().values()), torch.device("cpu"))
        self.best = None if state["best"] is None else {n: t.to(device) for n, t in state["best"].items()}
        self.best_epoch, self.step, self.epoch = state["best_epoch"], state["step"], state["epoch"]
        self._sum, self._rows, self._seconds = state["partial"]
        self.history[:] = state["history"]
        self.finished = state["finished"] if state["finished"] != "limit" else None
        self._begun, self._reopen = True, state["reopen"]
        if self._reopen is not None and self.finished is None and self._left():
            self._go_on_with_cut_epoch(self._reopen)
        set_random_state(state["random"])

    def _go_on_with_cut_epoch(self, cut: dict[str, Any]) -> None:
        self.history.pop()
        self.epoch -= 1
        self._sum, self._rows = cut["partial"]
        self.best, self.best_epoch = cut["best"], cut["best_epoch"]


def _put(live: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            live[name].copy_(value)
