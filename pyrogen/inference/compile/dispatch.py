"""Which steps are compiled, and whether they still are what the program says."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import fetched
from pyrogen.inference.compile.captured import CapturedStep
from pyrogen.inference.compile.compiled_step import Compilable, Plan, kept_state
from pyrogen.inference.compile.fused_step import FusedStep
from pyrogen.inference.compile.input_signature import Key, signature_key
from pyrogen.inference.compile.plan import plan_for
from pyrogen.inference.compile.tracing import CannotTrace
from pyrogen.inference.program.rng import kept_random_state
from pyrogen.story import Batch

__all__ = ["MIN_STEPS_TO_COMPILE", "Compiler", "difference_between"]

MIN_STEPS_TO_COMPILE = 10_000
"""Steps of the shortest run that `compile="auto"` compiles, twice as many for a small model: the compiler takes 3 to
20 s and saves 1 to 5 ms a step."""
RECOMPILE_AFTER = 1_000
"""Ordinary steps after which another kind of batch, such as an epoch's last and smaller one, is compiled as well."""
MAX_STEPS_BETWEEN_CHECKS = 10_000
MODES = ("captured", "compiled")
CAPTURES = False
"""Whether steps on CUDA are captured; off until a device has shown them to be right."""


class Compiler:
    """The compiled steps of a run, by kind of batch: shapes, types, constants, train or eval mode.

    Args:
        step: the steps.
        wanted: True compiles, and a failure is an error; "auto" compiles, and takes ordinary steps where that fails;
            False does not.
        reason: why not, where it is False.
    """

    def __init__(self, step: Compilable, wanted: bool | str, reason: str = "") -> None:
        self.step, self.wanted, self.reason = step, wanted, reason
        self.known: dict[str, str] = {}  # kind of batch -> one of MODES, or why not
        self.uses: dict[str, int] = {}
        self._plans: dict[Key, tuple[Plan, _Checks]] = {}
        self._last: tuple[Batch | None, Key] = None, ()  # a batch that comes again need not be looked at again
        if wanted and not hasattr(step.objective, "differentiable_loss"):
            self._decline(f"{type(step.objective).__name__} has no differentiable loss")

    @property
    def mode(self) -> str:
        """What ran: "captured" or "compiled" where some steps were, else "eager"."""
        return next((mode for mode in MODES if mode in self.known.values()), "eager")

    def take(self, batch: Batch) -> Tensor | float | None:
        """A compiled step, its loss undivided; None where the step is to be an ordinary one.

        Raises:
            RuntimeError: the compiled step is not, or no longer, what the program says.
        """
        if not self.wanted:
            return None
        try:
            key = self._key(batch)
        except CannotTrace as error:
            self._decline(str(error))
            return None
        if self._laid_elsewhere():
            self.step.optimization.unpack()
            self.forget()
        if key not in self._plans and not self._add(key, batch):
            return None
        plan, checks = self._plans[key]
        if not plan.layout.by_position:
            batch = fetched(batch)
        if checks.due():
            self._check(plan, batch)
        return plan(batch)

    def run_steps(self, batch: Batch, most: int) -> list[float]:
        """As `FusedStep.run_steps`, on the batch of the step before, up to the next check; none where that cannot be."""
        if not self.wanted or batch is not self._last[0] or self._laid_elsewhere():
            return []
        plan, checks = self._plans.get(self._key(batch), (None, None))
        if not isinstance(plan, FusedStep) or checks is None:
            return []
        losses = plan.run_steps(batch, min(most, checks.left))
        checks.uses += len(losses)
        return losses

    def _key(self, batch: Batch) -> Key:
        """The kind of batch, and train or eval mode.

        Raises:
            CannotTrace: it holds what a compiled step cannot be given.
        """
        shapes = self._last[1] if batch is self._last[0] else signature_key(batch)
        self._last = batch, shapes
        return (shapes, *(module.training for module in self.step.modules))

    def _laid_elsewhere(self) -> bool:
        """Whether parameters that were side by side are not any more."""
        packed = self.step.optimization.packed
        return packed is not None and not packed.holds

    def forget(self) -> None:
        """Compile anew: parameters have come or gone."""
        self._plans.clear()

    def close(self) -> None:
        """No further step is taken: parameters get storage of their own again."""
        self._plans.clear()
        self.step.optimization.unpack()

    def state(self) -> dict[str, Any]:
        """What is compiled, for a checkpoint: a run that goes on decides nothing anew."""
        return {"wanted": self.wanted, "reason": self.reason, "known": self.known, "uses": self.uses}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.wanted, self.reason = state["wanted"], state["reason"]
        self.known, self.uses = dict(state["known"]), dict(state["uses"])

    def _add(self, key: Key, batch: Batch) -> bool:
        """Compile steps for such batches, if it is their turn; whether they are compiled."""
        kind = repr(key)
        if self.known and kind not in self.known:
            self.uses[kind] = self.uses.get(kind, 0) + 1
            if self.uses[kind] <= RECOMPILE_AFTER:
                return False
        if self.known.get(kind, MODES[0]) not in MODES:
            return False
        try:
            plan = self._plan(batch, self.known.get(kind))
            with kept_random_state():
                given = batch if plan.layout.by_position else fetched(batch)
                difference = difference_between(self.step, plan, given)
            if difference is not None:
                raise CannotTrace(f"the compiled step is not what the program says: {difference}. {_STATE}")
        except CannotTrace as error:
            if kind in self.known:
                raise RuntimeError(f"the run's steps were compiled, and cannot be any more: {error}") from error
            others = bool(self.known)
            self.known[kind] = str(error)
            self._decline(str(error), others)
            return False
        self.known[kind] = plan.mode
        self._plans[key] = plan, _Checks()
        return True

    def _plan(self, batch: Batch, mode: str | None) -> Plan:
        """The fastest plan that works here, or the one of that mode."""
        plan = plan_for(self.step, batch)
        device = next(iter(self.step.optimization.parameters.values())).device
        if not CAPTURES or device.type != "cuda" or isinstance(plan, FusedStep) or mode == "compiled":
            return plan
        try:
            return CapturedStep(plan, self.step, batch)
        except (CannotTrace, RuntimeError) as error:
            if mode == "captured":
                raise CannotTrace(f"its steps were captured: {error}") from error
            self.reason = self.reason or f"compiled and not captured: {error}"
            return plan

    def _decline(self, reason: str, others: bool = False) -> None:
        """Say once why steps are ordinary ones; `others` says that some are compiled all the same."""
        who = self.step.name
        if self.wanted is True:
            raise ValueError(f"compile=True: the steps of {who} cannot be compiled: {reason}")
        if not self.reason:
            self.reason = reason
            what = "some steps are" if others else "steps are"
            warnings.warn(f"{who}: {what} not compiled: {reason}", UserWarning, stacklevel=2)
        if not others:
            self.wanted = False
            self.step.optimization.unpack()

    def _check(self, plan: Plan, batch: Batch) -> None:
        difference = difference_between(self.step, plan, batch)
        if difference is not None:
            raise RuntimeError(
                f"{self.step.name}: at step {self.step.number + 1} the compiled step is not what the "
                f"program says any more: {difference}. {_STATE}"
            )


_STATE = (
    "Does the program read Python state that changes as it runs (a counter, a list, numpy's random numbers)? Keep it "
    "in a tensor, or pass compile=False"
)


class _Checks:
    """When a compiled step is held against an ordinary one: at its 3rd, 9th, 27th, ... use."""

    def __init__(self) -> None:
        self.uses, self.next = 0, 3

    def due(self) -> bool:
        """Whether this use is one."""
        self.uses += 1
        if self.uses < self.next:
            return False
        self.next = min(3 * self.next, self.next + MAX_STEPS_BETWEEN_CHECKS)
        return True

    @property
    def left(self) -> int:
        """Uses before the next one."""
        return self.next - self.uses - 1


def difference_between(step: Compilable, plan: Plan, batch: Batch) -> str | None:
    """In what loss or gradients of a compiled step and of an ordinary one at the same noise differ; None if they agree.

    They agree where the loss does to 1e-5 of itself and every gradient to 1e-4 of its norm (1e-2 and 1e-1 in bfloat16).
    Where large terms cancel, the compiler's rounding differs by more: then the traced operations, run one by one, must
    agree, and the compiled ones to a tenth, or to what rounding does to the ordinary ones. Nothing moves.
    """
    with kept_state(step):
        expected = step.loss_and_gradients(fetched(batch))
    with kept_state(step):
        told = plan.loss_and_gradients(batch)
    slack = 1e-2 if step.autocast else 1e-5
    first = _first_difference(step, told, expected, slack)
    if first is None:
        return None
    with kept_state(step), torch.no_grad():
        loss, *gradients = plan.graph(*plan.layout.tensors(batch))
    if _first_difference(step, (loss, gradients), expected, slack) is None:
        return _first_difference(step, told, expected, 1e-2, _by_rounding(step, batch, expected))
    return first


def _by_rounding(step: Compilable, batch: Batch, expected: tuple[Tensor, list[Tensor]]) -> list[float]:
    """How far each gradient may be off by rounding alone.

    Ten times as far as it moves where every parameter moves by its last digit. (Measured on a ladder of three layers
    of latents, the compiler's rounding is one to two times as far.)
    """
    with kept_state(step):
        with torch.no_grad():
            for parameter in step.optimization.parameters.values():
                last = torch.finfo(parameter.dtype).eps
                signs = 1 - 2 * (torch.arange(parameter.numel(), device=parameter.device) % 2)
                parameter.mul_(1 + last * signs.reshape(parameter.shape))
        _, moved = step.loss_and_gradients(fetched(batch))
    return [10 * float((one - other).norm()) for one, other in zip(moved, expected[1], strict=True)]


def _first_difference(
    step: Compilable,
    told: tuple[Tensor, list[Tensor]],
    expected: tuple[Tensor, list[Tensor]],
    slack: float,
    rounding: list[float] | None = None,
) -> str | None:
    """The first value that is off: a loss by more than `slack`, a gradient by more than 10 times that, of itself.

    A millionth of all gradients is within rounding, and so is, for each gradient, its `rounding`.
    """
    (loss, gradients), (true_loss, true_gradients) = told, expected
    if not torch.isfinite(loss) and not torch.isfinite(true_loss):
        return None
    if not abs(float(loss) - float(true_loss)) <= slack * max(1.0, abs(float(true_loss))):
        return f"the loss is {float(loss):.7g} and should be {float(true_loss):.7g}"
    least = 1e-6 * max((float(gradient.norm()) for gradient in true_gradients), default=0.0)
    allowed = rounding or [0.0] * len(gradients)
    for name, one, other, more in zip(step.optimization.parameters, gradients, true_gradients, allowed, strict=True):
        gap, size = float((one - other).norm()), float(other.norm())
        if not gap <= 10 * slack * size + least + more and (torch.isfinite(one).all() or torch.isfinite(other).all()):
            return f"the gradient of '{name}', of norm {size:.3g}, is off by {gap:.3g}"
    return None
