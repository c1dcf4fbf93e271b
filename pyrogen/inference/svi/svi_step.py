"""One step of stochastic variational inference: loss, gradients, optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from pyro.infer import TraceTailAdaptive_ELBO
from torch import Tensor

from pyrogen.inference.batching.from_data import Batches
from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.compile.compiled_step import Compilable
from pyrogen.inference.compile.dispatch import StepCompiler
from pyrogen.inference.optim.freezing import freeze_buffers, named_submodules, trained_parameters
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.input_checks import check_first_batch, explain
from pyrogen.inference.program.isolation import divisor_for, isolated_run, live_weights
from pyrogen.inference.program.nonfinite import explain_nonfinite_loss
from pyrogen.inference.program.program import Program, Recording, SiteRecorder
from pyrogen.inference.program.rng import torch_random_state
from pyrogen.inference.program.row_parameters import check_row_parameters
from pyrogen.inference.program.site_checks import check_changed_sites
from pyrogen.inference.svi.jit_objective import JIT_OBJECTIVES, JitObjective
from pyrogen.story import Batch, Store


class SVIStep(Compilable):
    """A step of SVI on a batch: minus the ELBO and its gradients, then the optimizer.

    The first step runs with Pyro's validation on, and model and guide are checked before a parameter changes.

    Args:
        program: the story with its arguments.
        objective: a Pyro ELBO or one of pyrogen's.
        optimization: parameters, optimizer, schedule, clipping and averages.
        freeze: names of submodules or parameters that stay as they are, buffers too, or "model" or "guide"; none by
            default.
        autocast: whether networks run in bfloat16; False by default.
        batches: the training data, whose first rows set up the parameters of a resumed run; None by default.
        compile: True, False (the default) or "auto"; see `StepCompiler`.
        reason: why steps are not compiled, where `compile` is False; empty by default.
    """

    elbo = True
    drop_in = False

    def __init__(
        self,
        program: Program,
        objective: Any,
        optimization: Optimization,
        freeze: Sequence[str] = (),
        autocast: bool = False,
        batches: Batches | None = None,
        compile: bool | str = False,
        reason: str = "",
    ) -> None:
        self.program, self.objective, self.optimization = program, objective, optimization
        self.batches, self.freeze, self.autocast = batches, freeze, autocast
        self.divisors: dict[int, float] = {}
        self.recording: Recording | None = None
        self.number = 0
        self.story, self.name = program.story, program.story.name
        self.modules = list(program.story.all_modules())
        self.compiler = StepCompiler(self, compile, reason)
        self.first_step_at: float | None = None
        self._loss_dtype: torch.dtype | None = None  # of an eager step
        self._checked_sites: set[tuple[frozenset[str], frozenset[str]]] = set()
        self._stored_parameters = 0  # entries of the parameter store when it was last read
        self._differentiable = hasattr(objective, "differentiable_loss")
        self._objective = objective.differentiable_loss if self._differentiable else objective.loss_and_grads
        self._model, self._guide = program.model, program.guide
        others = [module for module in self.modules if module is not self.story]
        if "model" in freeze:
            self._model = freeze_buffers(others)(self._model)
        if "guide" in freeze:
            self._guide = freeze_buffers(others)(self._guide)
        if isinstance(objective, JIT_OBJECTIVES):
            self._objective = JitObjective(objective, self._model, self._guide)
        self._infinite = isinstance(objective, TraceTailAdaptive_ELBO)  # it has gradients, and no value

    def __call__(self, batch: Batch, epoch: float = 0.0) -> float:
        """Take one step.

        Args:
            batch: the rows.
            epoch: epochs into training, by which the objective's weight is annealed; 0 by default.

        Returns:
            The loss before the step, in nats per datum.

        Raises:
            FloatingPointError: the loss is not finite; no parameter changed.
        """
        batch = self.program.at_step(batch, self.number)
        if hasattr(self.objective, "set_epoch"):
            self.objective.set_epoch(epoch)
        noise = torch_random_state()
        compiled = self.compiler.try_step(batch) if self.recording is not None else None
        if self.first_step_at is None and (compiled is not None or not self.compiler.enabled):
            self.first_step_at = time.monotonic()
        if compiled is not None:
            value = float(compiled)
        else:
            rows = materialize(batch)
            first = Recording(rows) if self.recording is None else None
            recording = first or Recording(rows, SiteRecorder(), SiteRecorder())
            for parameter in () if self._differentiable else self.story.trainable().values():
                parameter.grad = None
            try:
                with self._run_scope(first), self.program.recorded(recording):
                    loss = _as_loss(self._objective(self._model, self._guide, rows))
            except Exception as error:
                readable = error if first is None else explain(self.story, first, error)
                if readable is error:
                    raise
                raise readable.with_traceback(error.__traceback__) from None
            check_changed_sites(self.story, recording, self._checked_sites, self.number)
            value = self._update(loss, rows, first)
        self.number += 1
        if not (math.isfinite(value) or self._infinite):
            raise FloatingPointError(explain_nonfinite_loss(self.program, batch, noise, value, self.number))
        return value / self.divisor(batch)

    def run_steps(self, batch: Batch, most: int) -> list[float]:
        """Take steps on the batch of the step before, each one compiled call, with the results of single steps.

        Args:
            batch: the rows.
            most: number of steps at most.

        Returns:
            The losses before the steps, in nats per datum; none where the next step must be taken by itself: eager,
            checked, or of a loss that is not finite.
        """
        alike = not self.program.arguments and self.optimization.schedule is None
        if not alike or hasattr(self.objective, "set_epoch"):
            return []
        losses = self.compiler.run_steps(batch, most)
        self.number += len(losses)
        return [loss / self.divisor(batch) for loss in losses]

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, to differentiate.

        Args:
            batch: the rows.

        Returns:
            The loss, in nats of the whole data plate.
        """
        with self._run_scope(None):
            return _as_loss(self._objective(self._model, self._guide, batch)).to(self._loss_dtype)

    def divisor(self, batch: Batch) -> float:
        """Size of the data plate, by which the loss is divided to be per datum.

        Args:
            batch: the rows.

        Returns:
            The number of data that the loss is scaled to.
        """
        if batch.n not in self.divisors:
            self.divisors[batch.n] = divisor_for(self.program, batch)
        return self.divisors[batch.n]

    @property
    def mode(self) -> str:
        """How steps are taken: "eager", "traced" or "compiled"."""
        return self.compiler.mode

    @property
    def mode_reason(self) -> str:
        """Why steps are not compiled, where they are not."""
        return self.compiler.reason

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live.

        Returns:
            By name.
        """
        return live_weights(self.story)

    def roots(self) -> list[Any]:
        """Functions and objects from which all that the program may read is reached.

        Returns:
            Model, guide, objective and the parameter store's entries.
        """
        return [*self.program.functions, self.objective, Store.current().params]

    def averages(self) -> dict[str, Tensor] | None:
        """Averaged parameters.

        Returns:
            By name; None where no averages are kept.
        """
        return self.optimization.averages

    def metrics(self) -> dict[str, Any]:
        """The learning rate, and the weight of the KL term where it is tempered.

        Returns:
            `lr`, and `beta` where there is one.
        """
        weight = getattr(self.objective, "weight", None)
        beta = {"beta": float(weight)} if isinstance(weight, Tensor) else {}
        return {"lr": self.optimization.lr, **beta}

    def close(self) -> None:
        """No further step is taken: parameters get storage of their own again."""
        self.compiler.close()

    def state(self) -> dict[str, Any]:
        """Optimizer, schedule and averages, and the number of steps taken.

        Returns:
            The state, for a checkpoint.
        """
        dtype = str(self._loss_dtype).removeprefix("torch.")
        steps = {"number": self.number, "loss_dtype": dtype, "compiler": self.compiler.state()}
        return {**self.optimization.state(), **steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state; parameters are made by one run on the first rows.

        Args:
            state: what `state()` returned.
        """
        assert self.batches is not None
        with isolated_run(self.story, keep_parameters=True):
            # The first rows, not placeholders: a program may need data that make sense.
            recording = Recording(self.program.at_step(self.batches.first(), 0)).run(self.program)
        self.register_parameters(recording)
        elbo = getattr(self.objective, "base", self.objective)
        if getattr(elbo, "max_plate_nesting", None) == math.inf:
            elbo.max_plate_nesting = recording.nesting  # a new run finds it by drawing
        self.number = state["number"]
        self._loss_dtype = getattr(torch, state.get("loss_dtype", ""), None)
        self.optimization.restore(state)
        self.compiler.restore(state["compiler"])

    def register_parameters(self, recording: Recording) -> None:
        """Take over the parameters that a run of guide and model has made.

        Args:
            recording: of that run.
        """
        self.recording = recording
        if recording.model.rows == recording.batch.n:  # an objective may have repeated the rows
            self.divisors[recording.batch.n] = recording.divisor
        self.story.training_spec = recording.training_spec()
        self._start_optimization(recording)

    @contextmanager
    def _run_scope(self, first: Recording | None) -> Iterator[None]:
        """Autocast, and buffers of frozen submodules kept; for the first run, validation and a recording of it."""
        with ExitStack() as stack:
            if first is not None:
                stack.enter_context(pyro.validation_enabled(True))
            if self.freeze:
                stack.enter_context(freeze_buffers(named_submodules(self.story, self.freeze)))
            if self.autocast and self._differentiable:
                stack.enter_context(torch.autocast(self.story.device.type, torch.bfloat16))
            yield

    def _update(self, loss: Tensor, batch: Batch, first: Recording | None) -> float:
        """Move the parameters by an eager loss, if it is finite; the loss as a number."""
        if first is not None:
            total = None if self.batches is None else self.batches.rows
            check_first_batch(self.story, first, total)
            check_row_parameters(self.program, first, total)
        value, self._loss_dtype = float(loss.detach()), loss.dtype
        if math.isfinite(value) or self._infinite:
            if first is not None:
                self.register_parameters(first)
            elif self.recording is not None and len(Store.current().params) != self._stored_parameters:
                self._start_optimization(self.recording)
            self.optimization.set_gradients(loss, self._differentiable, self.name if self.number == 0 else None)
            self.optimization.step(self.divisor(batch))
        return value

    def _start_optimization(self, recording: Recording) -> None:
        self.optimization.add_parameters(trained_parameters(self.story, self.freeze, recording))
        self.compiler.reset()
        self._stored_parameters = len(Store.current().params)


def _as_loss(value: Any) -> Tensor:
    return torch.as_tensor(value[0] if isinstance(value, tuple) else value)
