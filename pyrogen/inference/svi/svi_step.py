"""One SVI step: loss, gradients, and the checks that keep it honest."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import fetched
from pyrogen.inference.compile.dispatch import Compiler
from pyrogen.inference.optim.freezing import frozen_by, modules_named, still
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.input_checks import (
    check_batch_scale,
    check_sites,
    check_values,
    explain,
    locate_nonfinite_site,
)
from pyrogen.inference.program.program import Program, Recording, divisor_for, isolated_run, live_weights
from pyrogen.inference.program.rng import set_torch_random_state, torch_random_state
from pyrogen.inference.training.loop import WAITING
from pyrogen.story import Batch, Store

__all__ = ["SVIStep", "frozen_by"]


class SVIStep:
    """A step of SVI on a batch.

    Args:
        program: the story with its arguments.
        objective: a Pyro ELBO or one of pyrogen's.
        optimization: what is trained and how.
        freeze: names of submodules or parameters that stay as they are, buffers too, or "model" or "guide".
        autocast: run the networks in bfloat16.
        rows: rows in the training set, where known.
        compile, reason: see `Compiler`.
    """

    elbo = True

    def __init__(
        self,
        program: Program,
        objective: Any,
        optimization: Optimization,
        freeze: Sequence[str] = (),
        autocast: bool = False,
        rows: int | None = None,
        compile: bool | str = False,
        reason: str = "",
    ) -> None:
        self.program, self.objective, self.optimization = program, objective, optimization
        self.freeze, self.autocast, self.rows = freeze, autocast, rows
        self.divisors: dict[int, float] = {}
        self.recording: Recording | None = None
        self.number = 0
        self.name, self.modules = program.story.name, list(program.story.all_modules())
        self.compiler = Compiler(self, compile, reason)
        self.first_step_at: float | None = None  # when the first step was taken in the way that most are
        self._unseen: list[tuple[int, Batch, list[Tensor], Tensor]] = []  # number, batch, noise before, loss
        self._made = 0  # entries in the parameter store when it was last looked through

    def __call__(self, batch: Batch, epoch: float = 0.0) -> Tensor | float:
        """Take one step; the loss before it, in nats per datum: a number, or a tensor that was not looked at yet.

        Raises:
            FloatingPointError: the loss is not finite; nothing moved.
        """
        batch = self.program.at_step(batch, self.number)
        if hasattr(self.objective, "set_epoch"):
            self.objective.set_epoch(epoch)
        before = torch_random_state()
        loss = self.compiler.take(batch) if self.recording is not None else None
        if self.first_step_at is None and (loss is not None or not self.compiler.wanted):
            self.first_step_at = time.monotonic()
        if loss is None:
            loss = self._ordinary(fetched(batch))
        self.number += 1
        if isinstance(loss, Tensor) and self.compiler.mode == "captured":
            self._unseen.append((self.number, batch, before, loss))
            if len(self._unseen) >= WAITING:
                self.synchronize()
            return loss / self.divisor(batch)
        value = float(loss)
        if not math.isfinite(value):
            raise FloatingPointError(self._nonfinite_message(self.number, value, batch, before))
        return value / self.divisor(batch)

    def run_steps(self, batch: Batch, most: int) -> list[float]:
        """Take steps on the batch of the step before; the losses before them, in nats per datum.

        For steps that are one compiled call and differ in nothing but their noise: noise, losses and what is trained
        are those of as many calls. None is taken where the next is another: ordinary, checked, or of a loss that is
        not finite.
        """
        alike = not self.program.arguments and self.optimization.schedule is None
        if not alike or hasattr(self.objective, "set_epoch"):
            return []
        losses = self.compiler.run_steps(batch, most)
        self.number += len(losses)
        return [loss / self.divisor(batch) for loss in losses]

    def synchronize(self) -> None:
        """Look at the losses that were not looked at yet: on CUDA a look waits for the device.

        Raises:
            FloatingPointError: one is not finite; nothing moved in that step or since.
        """
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        for (number, batch, before, _), loss in zip(unseen, torch.stack([u[3] for u in unseen]).tolist(), strict=True):
            if not math.isfinite(loss):
                raise FloatingPointError(self._nonfinite_message(number, loss, batch, before))

    def _ordinary(self, batch: Batch) -> Tensor:
        """A step without the compiler; its loss, undivided. Nothing moves where the loss is not finite."""
        loss = self._first(batch) if self.recording is None else self.loss(batch)
        if torch.isfinite(loss.detach()):
            if len(Store.current().params) != self._made:
                self._take_charge()
            self._set_gradients(loss)
            self.optimization.step(self.divisor(batch))
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The undivided loss of a batch, to differentiate."""
        return self._loss(self.program.model, self.program.guide, batch)

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss of a batch and the gradients of what is trained, no step taken."""
        loss = self.loss(batch)
        return loss.detach(), list(torch.autograd.grad(loss, list(self.optimization.parameters.values())))

    def divisor(self, batch: Batch) -> float:
        """By what the batch's loss is divided to be per datum."""
        if batch.n not in self.divisors:
            self.divisors[batch.n] = divisor_for(self.program, batch)
        return self.divisors[batch.n]

    @property
    def mode_reason(self) -> str:
        """Why steps were not compiled, where they were not."""
        return self.compiler.reason

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live."""
        return live_weights(self.program.story)

    def averages(self) -> dict[str, Tensor] | None:
        """Averaged parameters, if they are kept."""
        return self.optimization.average

    def figures(self) -> dict[str, float]:
        """The rate, and the weight of the divergence where it is tempered."""
        weight = getattr(self.objective, "weight", None)
        beta = {"beta": float(weight)} if isinstance(weight, Tensor) else {}
        return {"lr": self.optimization.rate, **beta}

    def state(self) -> dict[str, Any]:
        """Optimizer, schedule and averages, and the number of steps taken."""
        return {**self.optimization.state(), "number": self.number, "compiler": self.compiler.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; the parameters have been met."""
        self.number = state["number"]
        self.optimization.restore(state)
        self.compiler.restore(state["compiler"])

    def register_parameters(self, recording: Recording) -> None:
        """Take charge of the parameters that a run of guide and model made."""
        self.recording = recording
        if recording.model.rows == recording.batch.n:  # an objective may have repeated the rows
            self.divisors[recording.batch.n] = recording.divisor
        self.program.story.training_spec = recording.training_spec()
        self._take_charge()

    def _first(self, batch: Batch) -> Tensor:
        """The ordinary first loss, with Pyro's validation on and every door checked before a parameter moves."""
        story, recording = self.program.story, Recording(batch)
        try:
            with pyro.validation_enabled(True):
                loss = self._loss(
                    recording.model.around(self.program.model), recording.guide.around(self.program.guide), batch
                )
        except Exception as error:
            readable = explain(story, recording, error)
            if readable is error:
                raise
            raise readable from error
        check_sites(story, recording)
        check_values(story, recording)
        check_batch_scale(story, recording, self.rows)
        if torch.isfinite(loss.detach()):
            self.register_parameters(recording)
        return loss

    def _loss(self, model: Any, guide: Any, batch: Batch) -> Tensor:
        """The loss; buffers of frozen submodules do not move, and none does while a frozen program runs."""
        if not self.freeze:
            return self._of_objective(model, guide, batch)
        story = self.program.story
        every = [module for module in self.modules if module is not story]
        model = still(every)(model) if "model" in self.freeze else model
        guide = still(every)(guide) if "guide" in self.freeze else guide
        with still(modules_named(story, self.freeze)):
            return self._of_objective(model, guide, batch)

    def _of_objective(self, model: Any, guide: Any, batch: Batch) -> Tensor:
        if not hasattr(self.objective, "differentiable_loss"):
            for parameter in self.program.story.trainable().values():
                parameter.grad = None
            loss = self.objective.loss_and_grads(model, guide, batch)
            return torch.as_tensor(loss[0] if isinstance(loss, tuple) else loss)
        with self._autocast():
            return torch.as_tensor(self.objective.differentiable_loss(model, guide, batch))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.program.story.device.type, torch.bfloat16)

    def _set_gradients(self, loss: Tensor) -> None:
        parameters = self.optimization.parameters
        gradients: Any = [p.grad for p in parameters.values()]
        if hasattr(self.objective, "differentiable_loss"):
            gradients = [None] * len(parameters)
            if loss.requires_grad:
                gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        if self.number == 0:
            unmoved = [name for name, g in zip(parameters, gradients, strict=True) if g is None]
            if unmoved:
                raise ValueError(
                    f"{self.program.story.name}: parameter '{unmoved[0]}' receives no gradient from the objective "
                    f"({len(unmoved)} of {len(parameters)} do not): use it in model or guide, remove it, or name it in "
                    "freeze="
                )
        for parameter, gradient in zip(parameters.values(), gradients, strict=True):
            parameter.grad = gradient

    def _take_charge(self) -> None:
        """Give the optimizer every parameter there is, but for the frozen ones."""
        assert self.recording is not None
        story = self.program.story
        parameters = {n: p for n, p in story.trainable().items() if p.requires_grad}
        frozen = frozen_by(self.freeze, parameters, self.recording, (name for name, _ in story.named_modules()))
        if not parameters:
            raise ValueError(
                f"{story.name} has no parameter to train: it needs nn.Parameter, pyro.param or pyro.module"
            )
        moving = {name: p for name, p in parameters.items() if name not in frozen}
        if not moving:
            raise ValueError(f"freeze={list(self.freeze)} leaves no parameter to train")
        self.optimization.start(moving)
        self.compiler.forget()
        self._made = len(Store.current().params)

    def _nonfinite_message(self, number: int, loss: float, batch: Batch, before: list[Tensor]) -> str:
        """Run the bad step again, with the same noise, and name the site."""
        with isolated_run(self.program.story):
            set_torch_random_state(before)
            recording = Recording(fetched(batch, anew=True))
            try:
                recording.run(self.program)
                reason = locate_nonfinite_site(recording)
            except (ValueError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
        return (
            f"{self.program.story.name}: the loss is {loss} at step {number}: {reason}. Lower the rate, pass "
            "clip_norm=, or bound the scale; nothing moved in this step"
        )
