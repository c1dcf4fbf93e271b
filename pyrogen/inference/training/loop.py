"""The training loop: epochs of steps, records, best weights, early stopping, checkpoints that resume to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.from_data import Batches
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.rng import get_random_state, preserve_random_state, set_random_state
from pyrogen.inference.training.progress import ProgressBar
from pyrogen.inference.training.result import Fit
from pyrogen.inference.training.termination import DeferredSignals, deferred_signals
from pyrogen.inference.training.training_step import TrainingStep, check_weights

SECONDS_BETWEEN_CHECKPOINTS = 2.0
"""Least time between checkpoints at the ends of epochs."""
SECONDS_BEFORE_CHECKPOINT_WITHIN_EPOCH = 60.0
"""An epoch longer than this is checkpointed within."""
MAX_STEPS_PER_CALL = 100
"""Steps on whole data that are taken in one call where nothing happens between them."""


class Loop:
    """Training, from its current position to its end.

    Args:
        training_step: takes the steps.
        batches: the training data.
        options: of `fit`: when training ends, the callbacks, and whether to show a bar; without callbacks, epochs of
            one step may be taken many in one call.
        fit: the result, whose history and best epoch are filled in.
        validate: the validation ELBO in nats per datum; None without validation data.
        directory: where the run is kept; None: nowhere.
        about: what the weights file says of itself.
    """

    def __init__(
        self,
        training_step: TrainingStep,
        batches: Batches,
        options: Options,
        fit: Fit,
        validate: Callable[[], float] | None,
        directory: RunDirectory | None,
        about: Callable[[], dict[str, Any]],
    ) -> None:
        self.training_step, self.batches, self.options, self.fit = training_step, batches, options, fit
        self.validate, self.directory, self.about = validate, directory, about
        self.step = self.epoch = 0
        self.best: dict[str, Tensor] | None = None
        self.finished: str | None = None
        self._elbo_sum, self._rows, self._seconds, self._started = 0.0, 0, 0.0, 0.0
        self._last_checkpoint = time.monotonic()
        self._directory_made = False
        self.reopen: dict[str, Any] | None = None
        self._signals = DeferredSignals()

    def run(self) -> None:
        """Train to the end, and put the selected weights in place: best on validation, else averaged, else last."""
        if self.finished is None and not self._remaining():
            self.finished = "limit"
            if not self._directory_made:
                self.save()
        self.fit.finished = self.finished is not None
        total = self.options.total_steps(self.batches.steps)
        bar = ProgressBar(total, self.step, self.options.progress, self.training_step.elbo)
        self._started = time.monotonic() - self._seconds
        with ExitStack() as stack:
            if self.directory is not None:  # nothing would be kept
                self._signals = stack.enter_context(deferred_signals())
            stack.enter_context(bar)
            while self.finished is None:
                if self._run_whole_data_epochs(bar):
                    continue
                for batch in self.batches.epoch():
                    within = self._rows / self.batches.rows if self.batches.rows else 0.0
                    loss = self.training_step(batch, self.epoch + within)
                    self._make_directory()
                    self._elbo_sum -= loss * batch.n
                    self._rows += batch.n
                    self.step += 1
                    bar.advance(self.epoch + 1, -loss)
                    self._seconds = time.monotonic() - self._started
                    if self.options.steps is not None and self.step >= self.options.steps:
                        break
                    self.after_step()
                self._close_epoch()
        self.fit.finished = True
        _copy_into(self.training_step.weights(), self.selected())

    def _run_whole_data_epochs(self, bar: ProgressBar) -> bool:
        """Epochs of one step on the same batch, and their records, in one call; whether there were any."""
        batch = self.batches.whole
        if batch is None or self.validate is not None or self.options.callbacks:
            return False
        losses = self.training_step.run_steps(batch, min(MAX_STEPS_PER_CALL, self._remaining()))
        self._seconds = time.monotonic() - self._started
        for loss in losses:
            self._elbo_sum, self._rows = -loss * batch.n, batch.n
            self.step += 1
            self.epoch += 1
            self.fit.history.append(self._record())
            bar.advance(self.epoch, -loss)
        if losses:
            if self.directory is not None:
                self.directory.append(*self.fit.history[-len(losses) :])
            self._finish_or_checkpoint()
        return bool(losses)

    def _make_directory(self) -> None:
        """Make the run directory once the first step has succeeded."""
        if self.directory is not None and not self._directory_made:
            self.directory.begin(self.fit.config)
        self._directory_made = True

    def _close_epoch(self) -> None:
        # An epoch that the number of steps cuts short is continued, should a resumed run have more steps.
        cut = {"partial": (self._elbo_sum, self._rows), "best": self.best, "best_epoch": self.fit.best_epoch}
        self.batches.close()
        self.reopen = cut if self.batches.unfinished_epoch else None
        self.epoch += 1
        self._finish_or_checkpoint(stop=self._close_record())

    def _finish_or_checkpoint(self, stop: bool = False) -> None:
        patience = self.options.patience
        if stop:
            self.finished = "callback"
        elif patience is not None and self.epoch - (self.fit.best_epoch or 0) >= patience:
            self.finished = "patience"
        elif not self._remaining():
            self.finished = "limit"
        asked = self._signals.received is not None
        if self.finished or asked or time.monotonic() - self._last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()
        if asked and not self.finished:
            self._signals.end_run(self.directory, self.step)

    def _close_record(self) -> bool:
        """Record the epoch, with the averaged weights in place where they are kept; whether a callback ends the run."""
        if self.validate is not None:
            check_weights(self.training_step.weights(), self.step, self.directory is not None, self.batches.stored)
        with self._averaged():
            record = self._record(None if self.validate is None else self.validate())
            if self.validate is not None:
                self._keep_best(record)
            self.fit.history.append(record)
            if self.directory is not None:
                self.directory.append(record, cut_short=self.reopen is not None)
            if not self.options.callbacks:
                return False
            with preserve_random_state():  # a callback may draw: the run's noise does not depend on it
                answers = [callback(self.fit, record) for callback in self.options.callbacks]
            return any(answer is True for answer in answers)

    def _record(self, validation_elbo: float | None = None) -> dict[str, Any]:
        """The record of an epoch that is complete."""
        known = self.training_step.elbo and math.isfinite(self._elbo_sum)  # some objectives have no value
        train = {"train_elbo": self._elbo_sum / self._rows} if known else {}
        held_out = {} if validation_elbo is None else {"validation_elbo": validation_elbo}
        self._elbo_sum, self._rows = 0.0, 0
        seconds = {"seconds": round(self._seconds, 3)}
        return {"epoch": self.epoch, "step": self.step, **train, **held_out, **seconds, **self.training_step.metrics()}

    def _keep_best(self, record: dict[str, Any]) -> None:
        best_epoch = self.fit.best_epoch
        before = -math.inf if best_epoch is None else self.fit.history[best_epoch - 1]["validation_elbo"]
        if math.isfinite(record["validation_elbo"]) and record["validation_elbo"] > before:
            self.fit.best_epoch = self.epoch
            self.best = {name: tensor.detach().clone() for name, tensor in self.training_step.weights().items()}

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.finished is not None or not self._remaining()

    def _remaining(self) -> int:
        """Steps, where they are limited, else epochs, that are left."""
        if self.options.steps is not None:
            return max(0, self.options.steps - self.step)
        return max(0, (self.options.epochs or 0) - self.epoch)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in place of the last ones."""
        averages, live = self.training_step.averages(), self.training_step.weights()
        if averages is None:
            yield
            return
        last = {name: live[name].detach().clone() for name in averages}
        _copy_into(live, averages)
        try:
            yield
        finally:
            _copy_into(live, last)

    def selected(self) -> dict[str, Tensor]:
        """The weights that `load` reads: best on validation, else averaged, else last.

        Returns:
            By name.
        """
        if self.best is not None:
            return self.best
        return {**self.training_step.weights(), **(self.training_step.averages() or {})}

    def after_step(self) -> None:
        """Called after each step that does not end an epoch: writes a checkpoint if the last one is long ago."""
        waited, asked = time.monotonic() - self._last_checkpoint, self._signals.received is not None
        due = asked or waited > SECONDS_BEFORE_CHECKPOINT_WITHIN_EPOCH
        if self.directory is not None and self.batches.exact and due:
            self.save()
        if asked:
            self._signals.end_run(self.directory, self.step)

    def save(self) -> None:
        """Write the checkpoint, then the weights.

        A parameter that is not finite raises FloatingPointError, and the last checkpoint stays.
        """
        check_weights(self.training_step.weights(), self.step, self.directory is not None, self.batches.stored)
        if self.directory is not None:
            self._make_directory()
            self.fit.finished = self.finished is not None
            self.directory.write_checkpoint(self.state(), self.fit.config)
            self.directory.write_weights(self.fit.kept(self.selected()), self.fit.config, **self.about())
        self._last_checkpoint = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on.

        Returns:
            The state, for a checkpoint.
        """
        return {
            "weights": self.training_step.weights(),
            "best": self.best,
            "best_epoch": self.fit.best_epoch,
            "steps": self.training_step.state(),
            "batches": self.batches.state(),
            "random": get_random_state(),
            "step": self.step,
            "epoch": self.epoch,
            "partial": (self._elbo_sum, self._rows, self._seconds),
            "finished": self.finished,
            "reopen": self.reopen,
            "about": self.about(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.

        Raises:
            ValueError: the state holds a parameter that the first step does not make.
        """
        self.training_step.restore(state["steps"])
        live = self.training_step.weights()
        unknown = sorted(set(state["weights"]) - set(live))
        if unknown:
            raise ValueError(
                f"resume: parameter '{unknown[0]}' is made only later than the first step, and cannot be restored: "
                "make all parameters in the first step"
            )
        _copy_into(live, state["weights"])
        self.batches.restore(state["batches"])
        device = next((t.device for t in live.values()), torch.device("cpu"))
        self.best = None if state["best"] is None else {n: t.to(device) for n, t in state["best"].items()}
        self.fit.best_epoch, self.step, self.epoch = state["best_epoch"], state["step"], state["epoch"]
        self._elbo_sum, self._rows, self._seconds = state["partial"]
        self.fit.history[:] = state["history"]
        self.finished = state["finished"] if state["finished"] != "limit" else None
        self._directory_made, self.reopen = True, state["reopen"]
        if self.reopen is not None and self.finished is None and self._remaining():
            self.fit.history.pop()
            self.epoch -= 1
            self._elbo_sum, self._rows = self.reopen["partial"]
            self.best, self.fit.best_epoch = self.reopen["best"], self.reopen["best_epoch"]
            self.reopen = None
        set_random_state(state["random"])


def _copy_into(live: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            live[name].copy_(value)
