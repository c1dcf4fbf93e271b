"""How the steps of one kind of batch are compiled: traced, then as one call or as gradients alone."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import fetched
from pyrogen.inference.compile.compiled_step import Compilable, CompiledGradients, kept_state
from pyrogen.inference.compile.fused_step import FusedStep
from pyrogen.inference.compile.input_signature import Layout
from pyrogen.inference.compile.tracing import CannotTrace, Graph, trace
from pyrogen.inference.program.rng import foreign_random_state
from pyrogen.story import Batch

__all__ = ["plan_for"]


def plan_for(step: Compilable, batch: Batch) -> CompiledGradients | FusedStep:
    """Trace and compile the steps of such batches; nothing moves.

    Raises:
        CannotTrace: the program cannot be traced, or not be compiled here.
    """
    step.optimization.pack()
    with kept_state(step):
        layout = Layout.of(batch)
        try:
            graph = traced(step, layout, batch)
        except CannotTrace:
            if not layout.by_position:
                raise
            batch = fetched(batch)  # it may have been the data's transform that cannot be traced
            layout = Layout.of(batch)
            graph = traced(step, layout, batch)
        if step.optimization.packed is not None:
            return FusedStep(step, layout, graph, batch)
        return CompiledGradients(step, layout, graph, batch)


def traced(step: Compilable, layout: Layout, batch: Batch) -> Graph:
    """Loss and gradients of such a batch as a graph."""
    parameters = step.optimization.parameters

    def loss_and_gradients(*tensors: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            loss = step.loss(layout.batch(tensors))
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                raise CannotTrace(f"parameter '{name}' receives no gradient in this step")
        return [loss.detach(), *gradients]

    before = foreign_random_state()
    graph = trace(loss_and_gradients, layout.tensors(batch))
    if foreign_random_state() != before:
        raise CannotTrace("it draws from numpy's or Python's random numbers, which a compiled step would repeat")
    return graph
