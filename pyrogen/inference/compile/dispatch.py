"""Which steps are recorded: traced, then compiled, when their turn comes; checked against eager steps, else left eager.

Which way a step is taken depends on its number and on the program, never on the clock.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch

from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.compile.compiled_step import (
    Compilable,
    RecordedGradients,
    preserve_training_state,
)
from pyrogen.inference.compile.fused_step import FusedStep, RecordedStep
from pyrogen.inference.compile.input_signature import Key, SignatureKeys
from pyrogen.inference.compile.python_state.guard import StateGuard
from pyrogen.inference.compile.self_check import CheckSchedule, difference_between
from pyrogen.inference.compile.traced_loss import trace_step
from pyrogen.inference.compile.tracing import CannotTrace
from pyrogen.inference.program.rng import preserve_random_state
from pyrogen.story import Batch

TRACE_AFTER = 20
"""Eager steps after which batches of another signature, such as an epoch's smaller last one, are traced as well."""
RECOMPILE_AFTER = 1_000
"""Traced steps after which batches of another signature are compiled as well."""
EAGER, TRACED, COMPILED = "eager", "traced", "compiled"
TRACE_ONLY = "traced"
"""As `compile`: steps are traced, and never compiled."""


@dataclass
class _Entry:
    """The recorded steps of batches of one signature."""

    signature: str
    step: RecordedStep
    tier: str
    checks: CheckSchedule = field(default_factory=CheckSchedule)


class StepCompiler:
    """The recorded steps of a run, one for each signature of batches: shapes, types and constants.

    Args:
        step: the eager steps.
        compile: True compiles, and a failure is an error; "auto" traces, then compiles, and steps stay traced or eager
            where that fails; "traced" traces alone; False records nothing.
        reason: why steps are not compiled; empty by default.
        compile_after: traced steps after which "auto" compiles; 0 by default.
    """

    def __init__(self, step: Compilable, compile: bool | str, reason: str = "", compile_after: int = 0) -> None:
        self.step, self.enabled, self.reason, self.compile_after = step, compile, reason, compile_after
        self._outcomes: dict[str, str] = {}  # signature -> TRACED, COMPILED, or why neither
        self._uses: dict[str, int] = {}  # by signature, eager ones included
        self._entries: dict[Key, _Entry] = {}
        self._keys = SignatureKeys()
        self._guard: StateGuard | None = None
        self._restored: dict[str, int] = {}
        if compile and not hasattr(step.objective, "differentiable_loss"):
            self._fall_back(f"{type(step.objective).__name__} has no differentiable loss")

    @property
    def mode(self) -> str:
        """How steps were taken: "compiled" where some were, else "traced" where some were, else "eager"."""
        taken = self._outcomes.values()
        return COMPILED if COMPILED in taken else TRACED if TRACED in taken else EAGER

    def try_step(self, batch: Batch) -> float | None:
        """Take a recorded step if there is one for such batches, or it is time to record one.

        Args:
            batch: the rows.

        Returns:
            The loss before the step, in nats of the whole data plate; None where the step is to be an eager one.

        Raises:
            RuntimeError: the recorded step differs from the eager one, and `compile` is True.
        """
        if not self.enabled:
            return None
        try:
            key = self._keys.key(batch)
            if self._entries and not (self._guard is not None and self._guard.holds()):
                self.reset()
        except CannotTrace as error:
            self._fall_back(str(error))
            return None
        if self._flat_views_replaced():
            self.step.optimization.unflatten()
            self.reset()
        if key in self._entries and not self._entries[key].step.graph.holds():
            self.reset()
        entry = self._entries.get(key) or self._add(key, batch)
        if entry is None:
            return None
        if entry.tier == TRACED and self._is_due(entry.signature):
            self._compile(entry, batch)
        self._uses[entry.signature] = self._uses.get(entry.signature, 0) + 1
        if not entry.step.signature.gathers_rows:
            batch = materialize(batch)
        if entry.checks.is_due() and (difference := difference_between(self.step, entry.step, batch)) is not None:
            self._give_up(f"at step {self.step.number + 1} {_message(entry.tier, difference)}")
            return None
        return entry.step(batch)

    def run_steps(self, batch: Batch, max_steps: int) -> list[float]:
        """Take steps on the batch of the step before, up to the next check, as `FusedStep.run_steps` does.

        Args:
            batch: the rows.
            max_steps: number of steps at most.

        Returns:
            The losses before the steps, in nats of the whole data plate; none where the next step must be taken by
            `try_step`.
        """
        if not self.enabled or batch is not self._keys.last or self._flat_views_replaced():
            return []
        entry = self._entries.get(self._keys.key(batch))
        if entry is None or not isinstance(entry.step, FusedStep) or self._guard is None or not self._guard.holds():
            return []
        losses = entry.step.run_steps(batch, min(max_steps, entry.checks.uses_until_next))
        entry.checks.uses += len(losses)
        self._uses[entry.signature] += len(losses)
        return losses

    def reset(self) -> None:
        """Discard the recorded steps: parameters were added or removed, or what the program reads has changed."""
        self._entries.clear()

    def close(self) -> None:
        """No further step is taken: parameters get storage of their own again."""
        self._entries.clear()
        self.step.optimization.unflatten()

    def state(self) -> dict[str, Any]:
        """What is recorded, so that a resumed run takes its steps in the same way.

        Returns:
            The state, for a checkpoint.
        """
        return {
            "enabled": self.enabled,
            "reason": self.reason,
            "live_floats": self._keys.live_floats,
            "outcomes": dict(self._outcomes),
            "uses": dict(self._uses),
            "changes": dict(self._restored if self._guard is None else self._guard.state()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        self.enabled, self.reason, self._live_floats = (
            state["enabled"],
            state["reason"],
            state.get("live_floats", False),
        )
        self._outcomes, self._uses = dict(state["outcomes"]), dict(state.get("uses", {}))
        self._restored = dict(state.get("changes", {}))

    def _flat_views_replaced(self) -> bool:
        """Whether parameters are no longer views of the flat tensor, because the caller gave them other storage."""
        flat = self.step.optimization.flat
        return flat is not None and not flat.is_valid

    def _add(self, key: Key, batch: Batch) -> _Entry | None:
        """Record steps for such batches, if it is time to."""
        signature = repr(key)
        outcome = self._outcomes.get(signature)
        if outcome is None and self._outcomes:
            self._uses[signature] = self._uses.get(signature, 0) + 1
            if self._uses[signature] <= TRACE_AFTER:
                return None
        if outcome not in (None, TRACED, COMPILED):
            return None
        try:
            self._entries[key] = self._record(signature, batch)
        except CannotTrace as error:
            if outcome is not None:
                self._give_up(f"its steps were {outcome}, and cannot be now: {error}")
            else:
                others = bool(self._outcomes)
                self._outcomes[signature] = str(error)
                self._fall_back(str(error), others)
            return None
        return self._entries[key]

    def _record(self, signature: str, batch: Batch) -> _Entry:
        """Trace steps for such batches, and compile them if it is time to; no step is taken."""
        if self._guard is None:
            dtype = next((p.dtype for p in self.step.optimization.parameters.values()), torch.get_default_dtype())
            self._guard = StateGuard(self.step.roots, dtype)
            self._guard.restore(self._restored)
        with preserve_training_state(self.step):
            live = torch.get_default_dtype() if self._keys.live_floats else None
            inputs, graph, rows = trace_step(self.step, batch, self._guard, live)
            entry = _Entry(signature, RecordedGradients(self.step, inputs, graph, rows, compiled=False), TRACED)
        self._check(entry, batch)
        self._outcomes[signature] = TRACED
        if self._is_due(signature):
            self._compile(entry, batch)
        return entry

    def _is_due(self, signature: str) -> bool:
        """Whether steps of a signature are to be compiled: the first one soon, others where there are many of them."""
        if self.enabled not in (True, "auto"):
            return False
        first = next(iter(self._outcomes)) == signature
        least = RECOMPILE_AFTER if not first else 0 if self.enabled is True else self.compile_after
        return self._uses.get(signature, 0) >= least

    def _compile(self, entry: _Entry, batch: Batch) -> None:
        """Compile the steps of an entry; no step is taken. Under "auto" they stay traced where that is not possible."""
        traced = entry.step
        try:
            entry.step, entry.tier = self._compiled(traced, batch), COMPILED
            self._check(entry, batch)
        except CannotTrace as error:
            if self.enabled is True:
                raise
            entry.step, entry.tier = traced, TRACED
            self.enabled, self.reason = TRACE_ONLY, str(error)
            self.step.optimization.unflatten()
            self._warn(f"steps are traced, and not compiled: {error}")
        else:
            self._outcomes[entry.signature] = COMPILED

    def _compiled(self, traced: RecordedStep, batch: Batch) -> RecordedStep:
        """The compiled step of a traced one; parameters are flattened where they can be."""
        self.step.optimization.flatten()
        with preserve_training_state(self.step):
            rows = batch if traced.signature.gathers_rows else materialize(batch)
            if self.step.optimization.flat is None:
                return RecordedGradients(self.step, traced.signature, traced.graph, rows, compiled=True)
            return FusedStep(self.step, traced.signature, traced.graph, rows)

    def _check(self, entry: _Entry, batch: Batch) -> None:
        """Refuse recorded steps that differ from eager ones."""
        with preserve_random_state():
            rows = batch if entry.step.signature.gathers_rows else materialize(batch)
            difference = difference_between(self.step, entry.step, rows)
        if difference is not None:
            raise CannotTrace(_message(entry.tier, difference))

    def _give_up(self, why: str) -> None:
        """End recording with a warning: all further steps are eager; an error where `compile` is True."""
        if self.enabled is True:
            raise RuntimeError(f"{self.step.name}: {why}, or pass compile=False")
        self.enabled, self.reason = False, why
        self.close()
        self._warn(f"{why}; further steps are eager")

    def _fall_back(self, reason: str, others_recorded: bool = False) -> None:
        """Note why steps stay eager, with a warning where they were to be compiled; raise where `compile` is True."""
        if self.enabled is True:
            raise ValueError(f"compile=True: the steps of {self.step.name} cannot be compiled: {reason}")
        if self.enabled == "auto" and not self.reason:
            self._warn(f"{'some steps are' if others_recorded else 'steps are'} eager, and not compiled: {reason}")
        self.reason = self.reason or reason
        if not others_recorded:
            self.enabled = False
            self.close()

    def _warn(self, text: str) -> None:
        """Warn, but for Pyro's own loop, whose user asked for nothing."""
        if not self.step.drop_in:
            warnings.warn(f"{self.step.name}: {text}", UserWarning, stacklevel=2)


def _message(tier: str, difference: str) -> str:
    return (
        f"the {tier} step differs from the eager one: {difference}. Does the program read Python state that changes "
        "as it runs (a counter, a list, numpy's random numbers)? Keep it in a tensor"
    )
