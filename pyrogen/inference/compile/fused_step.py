"""Steps of small models: loss, gradients, clipping, Adam and averages as one compiled call."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from pyrogen.inference.compile.compiled_step import Compilable, RecordedGradients, compile_graph
from pyrogen.inference.compile.input_signature import InputSignature
from pyrogen.inference.compile.tracing import Graph, trace
from pyrogen.inference.optim.flat_parameters import FlatParameters
from pyrogen.inference.program.rng import set_torch_random_state, torch_random_state
from pyrogen.story import Batch

MAX_SECONDS_PER_CALL = 0.5
"""Of `run_steps`: until then a progress bar, a checkpoint or an interrupt waits."""


class FusedStep:
    """Loss, gradients, clipping, Adam and averages of a small model as one compiled call.

    Args:
        step: the steps to compile; its parameters are flattened.
        signature: of the inputs.
        graph: the traced loss and gradients.
        batch: an example.
    """

    def __init__(self, step: Compilable, signature: InputSignature, graph: Graph, batch: Batch) -> None:
        assert step.optimization.flat is not None
        self.signature, self.graph, self.optimization = signature, graph, step.optimization
        self.flat: FlatParameters = step.optimization.flat
        clip_norm = self.optimization.clip_norm
        max_norm = None if clip_norm is None else clip_norm * step.divisor(batch)
        position = {id(p): i for i, p in enumerate(self.flat.parameters)}
        self._captured = [tensor for tensor in graph.captured if id(tensor) not in position]
        count = len(signature.tensors(batch))

        def whole_step(*inputs: Tensor) -> list[Tensor]:
            (*columns, state, num_steps, lr), rest = inputs[: count + 3], iter(inputs[count + 3 :])
            values = self.flat.split(state[0])
            captured = [values[position[id(t)]] if id(t) in position else next(rest) for t in graph.captured]
            loss, *gradients = graph.module(*columns, *captured)
            gradient = torch.cat([g.reshape(-1) for g in gradients])
            is_finite = torch.isfinite(loss)
            state.copy_(self.flat.adam_update(gradient, is_finite, max_norm, state, num_steps, lr))
            num_steps.add_(is_finite.to(num_steps.dtype))
            return [loss, gradient]

        self._batch: Batch | None = None
        self._batch_inputs: list[Tensor] = []
        inputs = self._inputs(batch)
        with torch.no_grad():
            whole = trace(whole_step, inputs, graph.module.buffers())
            self.call = compile_graph(whole.module, inputs)
        self.flat.num_steps_value = -1  # that call has counted a step

    def _inputs(self, batch: Batch) -> list[Tensor]:
        if batch is not self._batch:
            flat = self.flat
            state = [flat.state, flat.num_steps, flat.lr]
            self._batch, self._batch_inputs = batch, [*self.signature.tensors(batch), *state, *self._captured]
        return self._batch_inputs

    def __call__(self, batch: Batch) -> float:
        """Take a step, unless the loss is not finite.

        Args:
            batch: of this signature.

        Returns:
            The loss before the step, in nats of the whole data plate.
        """
        self.flat.read_options(self.optimization.num_steps)
        with torch.no_grad():
            loss = float(self.call(*self._inputs(batch))[0])
        if math.isfinite(loss):
            self.flat.num_steps_value += 1
            self.optimization.count_step()
        return loss

    def run_steps(self, batch: Batch, max_steps: int) -> list[float]:
        """Take steps on one batch for half a second at most.

        A step whose loss is not finite ends them before it: it is not taken, and is the next.

        Args:
            batch: of this signature.
            max_steps: number of steps at most.

        Returns:
            The losses before the steps, in nats of the whole data plate.
        """
        losses: list[float] = []
        self.flat.read_options(self.optimization.num_steps)
        call, inputs, start = self.call, self._inputs(batch), time.monotonic()
        with torch.no_grad():
            while len(losses) < max_steps and not (losses and time.monotonic() - start > MAX_SECONDS_PER_CALL):
                random_state = torch_random_state()
                loss = float(call(*inputs)[0])
                if not math.isfinite(loss):
                    set_torch_random_state(random_state)
                    break
                losses.append(loss)
        self.flat.num_steps_value += len(losses)
        for _ in losses:
            self.optimization.count_step()
        return losses

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradients; no step is taken, but random state and buffers change.

        Args:
            batch: of this signature.

        Returns:
            The loss in nats of the whole data plate, and a gradient for each trained parameter.
        """
        state = self.flat.state.clone()
        with torch.no_grad():
            loss, gradient = self.call(*self._inputs(batch))
            self.flat.state.copy_(state)
        self.flat.num_steps_value = -1
        return loss, self.flat.split(gradient)


RecordedStep = RecordedGradients | FusedStep
"""Steps for batches of one signature."""
