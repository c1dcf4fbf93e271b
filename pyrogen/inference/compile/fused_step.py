"""Steps of small models: loss, gradients, clipping, Adam and averages as one compiled call."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from pyrogen.inference.compile.compiled_step import Compilable, compiled
from pyrogen.inference.compile.input_signature import Layout
from pyrogen.inference.compile.tracing import Graph, trace
from pyrogen.inference.optim.flat_parameters import FlatParameters
from pyrogen.inference.program.rng import set_torch_random_state, torch_random_state
from pyrogen.story import Batch

__all__ = ["FusedStep"]

AT_A_TIME_SECONDS = 0.5
"""How long steps are taken without a look at anything else."""


class FusedStep:
    """Loss, gradients, clipping, Adam and averages of a small model as one compiled call."""

    mode = "compiled"

    def __init__(self, step: Compilable, layout: Layout, graph: Graph, batch: Batch) -> None:
        assert step.optimization.packed is not None
        self.layout, self.graph, self.optimization = layout, graph, step.optimization
        self.packed: FlatParameters = step.optimization.packed
        clip = None if self.optimization.clip_norm is None else self.optimization.clip_norm * step.divisor(batch)
        places = {id(p): i for i, p in enumerate(self.packed.parameters)}
        self.live = [tensor for tensor in graph.live if id(tensor) not in places]
        count = len(layout.tensors(batch))

        def whole(*inputs: Tensor) -> list[Tensor]:
            (*given, state, taken, rate), rest = inputs[: count + 3], iter(inputs[count + 3 :])
            values = self.packed.split(state[0])
            live = [values[places[id(t)]] if id(t) in places else next(rest) for t in graph.live]
            loss, *gradients = graph.module(*given, *live)
            gradient = torch.cat([g.reshape(-1) for g in gradients])
            fine = torch.isfinite(loss)
            state.copy_(self.packed.moved(gradient, fine, clip, state, taken, rate))
            taken.add_(fine.to(taken.dtype))
            return [loss, gradient]

        self._batch: Batch | None = None
        self._given: list[Tensor] = []  # the inputs for that batch
        inputs = self._inputs(batch)
        with torch.no_grad():
            self.call = compiled(trace(whole, inputs).module, inputs, in_cpp=True)
        self.packed.counted = -1  # it was called, and moved nothing that is kept but the count

    def _inputs(self, batch: Batch) -> list[Tensor]:
        if batch is self._batch:
            return self._given
        packed = self.packed
        self._batch, self._given = (
            batch,
            [*self.layout.tensors(batch), packed.state, packed.count, packed.rate, *self.live],
        )
        return self._given

    def __call__(self, batch: Batch) -> float:
        """Take a step; the loss before it, undivided. Nothing moves where the loss is not finite."""
        self.packed.bring_up()
        with torch.no_grad():
            loss = float(self.call(*self._inputs(batch))[0])
        if math.isfinite(loss):
            self.packed.counted += 1
            self.optimization.count()
        return loss

    def run_steps(self, batch: Batch, most: int) -> list[float]:
        """Take steps on one batch, for half a second or so; the losses before them, undivided.

        A step whose loss is not finite ends them before it: it is not taken, and comes next.
        """
        losses: list[float] = []
        self.packed.bring_up()
        call, inputs, began = self.call, self._inputs(batch), time.monotonic()
        with torch.no_grad():
            while len(losses) < most and not (losses and time.monotonic() - began > AT_A_TIME_SECONDS):
                before = torch_random_state()
                loss = float(call(*inputs)[0])
                if not math.isfinite(loss):
                    set_torch_random_state(before)
                    break
                losses.append(loss)
        self.packed.counted += len(losses)
        for _ in losses:
            self.optimization.count()
        return losses

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss and its gradients, no step taken; random state and buffers move."""
        state = self.packed.state.clone()
        with torch.no_grad():
            loss, gradient = self.call(*self._inputs(batch))
            self.packed.state.copy_(state)
        self.packed.counted = -1
        return loss, self.packed.split(gradient)
