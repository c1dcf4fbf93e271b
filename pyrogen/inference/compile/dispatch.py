"""Which steps are compiled: traced and compiled when their turn comes, checked against eager steps, else left eager."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.compile.compiled_step import Compilable, CompiledGradients, preserve_training_state
from pyrogen.inference.compile.fused_step import CompiledStep, FusedStep
from pyrogen.inference.compile.input_signature import InputSignature, Key, signature_key
from pyrogen.inference.compile.self_check import CheckSchedule, difference_between
from pyrogen.inference.compile.tracing import CannotTrace, Graph, trace
from pyrogen.inference.program.rng import foreign_random_state, preserve_random_state
from pyrogen.story import Batch

MIN_STEPS_TO_COMPILE = 10_000
"""Steps of the shortest run that `compile="auto"` compiles, twice as many for a small model: compiling takes 3 to 20 s
and saves 1 to 5 ms a step."""
RECOMPILE_AFTER = 1_000
"""Eager steps after which batches of another signature, such as an epoch's smaller last one, are compiled as well."""
COMPILED = "compiled"


class StepCompiler:
    """The compiled steps of a run, one for each signature of batches: shapes, types, constants, train or eval mode.

    Args:
        step: the eager steps.
        compile: True compiles, and a failure is an error; "auto" compiles, and steps stay eager where that fails; False
            does not compile.
        reason: why steps are not compiled, where `compile` is False; empty by default.
    """

    def __init__(self, step: Compilable, compile: bool | str, reason: str = "") -> None:
        self.step, self.enabled, self.reason = step, compile, reason
        self._outcomes: dict[str, str] = {}  # signature -> COMPILED, or why not
        self._eager_steps: dict[str, int] = {}  # by signature, while another one is compiled
        self._compiled: dict[Key, tuple[CompiledStep, CheckSchedule]] = {}
        self._last: tuple[Batch | None, Key] = None, ()  # the batch of the step before and its signature
        if compile and not hasattr(step.objective, "differentiable_loss"):
            self._fall_back(f"{type(step.objective).__name__} has no differentiable loss")

    @property
    def mode(self) -> str:
        """How steps were taken: "compiled" where some were, else "eager"."""
        return COMPILED if COMPILED in self._outcomes.values() else "eager"

    def try_step(self, batch: Batch) -> float | None:
        """Take a compiled step if there is one for such batches, or it is time to compile one.

        Args:
            batch: the rows.

        Returns:
            The loss before the step, in nats of the whole data plate; None where the step is to be an eager one.

        Raises:
            RuntimeError: the compiled step differs from the eager one, and `compile` is True.
        """
        if not self.enabled:
            return None
        try:
            key = self._key(batch)
        except CannotTrace as error:
            self._fall_back(str(error))
            return None
        if self._flat_views_replaced():
            self.step.optimization.unflatten()
            self.reset()
        if key not in self._compiled and not self._add(key, batch):
            return None
        compiled, checks = self._compiled[key]
        if not compiled.signature.gathers_rows:
            batch = materialize(batch)
        if checks.is_due() and (difference := difference_between(self.step, compiled, batch)) is not None:
            self._give_up(f"at step {self.step.number + 1} {_message(difference)}")
            return None
        return compiled(batch)

    def run_steps(self, batch: Batch, max_steps: int) -> list[float]:
        """Take steps on the batch of the step before, up to the next check, as `FusedStep.run_steps` does.

        Args:
            batch: the rows.
            max_steps: number of steps at most.

        Returns:
            The losses before the steps, in nats of the whole data plate; none where the next step must be taken by
            `try_step`.
        """
        if not self.enabled or batch is not self._last[0] or self._flat_views_replaced():
            return []
        compiled, checks = self._compiled.get(self._key(batch), (None, None))
        if not isinstance(compiled, FusedStep) or checks is None:
            return []
        losses = compiled.run_steps(batch, min(max_steps, checks.uses_until_next))
        checks.uses += len(losses)
        return losses

    def reset(self) -> None:
        """Discard the compiled steps: parameters were added or removed."""
        self._compiled.clear()

    def close(self) -> None:
        """No further step is taken: parameters get storage of their own again."""
        self._compiled.clear()
        self.step.optimization.unflatten()

    def state(self) -> dict[str, Any]:
        """What is compiled, so that a resumed run takes its steps in the same way.

        Returns:
            The state, for a checkpoint.
        """
        outcomes, eager_steps = dict(self._outcomes), dict(self._eager_steps)
        return {"enabled": self.enabled, "reason": self.reason, "outcomes": outcomes, "eager_steps": eager_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        self.enabled, self.reason = state["enabled"], state["reason"]
        self._outcomes, self._eager_steps = dict(state["outcomes"]), dict(state["eager_steps"])

    def _key(self, batch: Batch) -> Key:
        """The batch's signature, and train or eval mode of every module."""
        signature = self._last[1] if batch is self._last[0] else signature_key(batch)
        self._last = batch, signature
        return (signature, *(module.training for module in self.step.modules))

    def _flat_views_replaced(self) -> bool:
        """Whether parameters are no longer views of the flat tensor, because the caller gave them other storage."""
        flat = self.step.optimization.flat
        return flat is not None and not flat.is_valid

    def _add(self, key: Key, batch: Batch) -> bool:
        """Compile steps for such batches, if it is time to; whether they are compiled."""
        signature = repr(key)
        outcome = self._outcomes.get(signature)
        if self._outcomes and outcome is None:
            self._eager_steps[signature] = self._eager_steps.get(signature, 0) + 1
            if self._eager_steps[signature] <= RECOMPILE_AFTER:
                return False
        if outcome not in (None, COMPILED):
            return False
        try:
            compiled = compile_step(self.step, batch)
            with preserve_random_state():
                rows = batch if compiled.signature.gathers_rows else materialize(batch)
                difference = difference_between(self.step, compiled, rows)
            if difference is not None:
                raise CannotTrace(_message(difference))
        except CannotTrace as error:
            if outcome is not None:
                self._give_up(f"its steps were compiled, and cannot be compiled now: {error}")
                return False
            others = bool(self._outcomes)
            self._outcomes[signature] = str(error)
            self._fall_back(str(error), others)
            return False
        self._outcomes[signature] = COMPILED
        self._compiled[key] = compiled, CheckSchedule()
        return True

    def _give_up(self, why: str) -> None:
        """End compiling with a warning: all further steps are eager; an error where `compile` is True."""
        if self.enabled is True:
            raise RuntimeError(f"{self.step.name}: {why}, or pass compile=False")
        self.enabled, self.reason = False, why
        self.reset()
        self.step.optimization.unflatten()
        warnings.warn(f"{self.step.name}: {why}; further steps are not compiled", UserWarning, stacklevel=2)

    def _fall_back(self, reason: str, others_compiled: bool = False) -> None:
        """Warn once that steps stay eager, but for Pyro's own loop; raise where `compile` is True."""
        name = self.step.name
        if self.enabled is True:
            raise ValueError(f"compile=True: the steps of {name} cannot be compiled: {reason}")
        if not self.reason:
            self.reason = reason
            which = "some steps are" if others_compiled else "steps are"
            if not self.step.drop_in:
                warnings.warn(f"{name}: {which} not compiled: {reason}", UserWarning, stacklevel=2)
        if not others_compiled:
            self.enabled = False
            self.step.optimization.unflatten()


def _message(difference: str) -> str:
    return (
        f"the compiled step differs from the eager one: {difference}. Does the program read Python state that changes "
        "as it runs (a counter, a list, numpy's random numbers)? Keep it in a tensor"
    )


def compile_step(step: Compilable, batch: Batch) -> CompiledStep:
    """Trace and compile the steps of such batches; no step is taken.

    The parameters are flattened where they can be.

    Args:
        step: the eager steps.
        batch: an example.

    Returns:
        The compiled step: one compiled call where the parameters can be flattened, else compiled loss and gradients.

    Raises:
        CannotTrace: the program cannot be traced, or not be compiled on this machine.
    """
    step.optimization.flatten()
    with preserve_training_state(step):
        signature = InputSignature.of(batch)
        try:
            graph = _trace_step(step, signature, batch)
        except CannotTrace:
            if not signature.gathers_rows:
                raise
            batch = materialize(batch)  # perhaps only the data's transform cannot be traced
            signature = InputSignature.of(batch)
            graph = _trace_step(step, signature, batch)
        make = CompiledGradients if step.optimization.flat is None else FusedStep
        return make(step, signature, graph, batch)


def _trace_step(step: Compilable, signature: InputSignature, batch: Batch) -> Graph:
    """Loss and gradients of such a batch as a graph."""
    parameters = step.optimization.parameters

    def loss_and_gradients(*tensors: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            loss = step.loss(signature.batch(tensors))
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                raise CannotTrace(f"parameter '{name}' receives no gradient in this step")
        return [loss.detach(), *gradients]

    before = foreign_random_state()
    graph = trace(loss_and_gradients, signature.tensors(batch))
    if foreign_random_state() != before:
        raise CannotTrace("it draws from numpy's or Python's random numbers, which a compiled step would repeat")
    return graph
