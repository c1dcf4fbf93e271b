"""Loss and gradients of a step as a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.compile.compiled_step import Compilable
from pyrogen.inference.compile.graph_cleanup import clean
from pyrogen.inference.compile.input_signature import InputSignature
from pyrogen.inference.compile.python_state.guard import StateGuard
from pyrogen.inference.compile.tracing import CannotTrace, Graph, trace
from pyrogen.inference.program.rng import foreign_random_state
from pyrogen.story import Batch


def trace_step(
    step: Compilable, batch: Batch, guard: StateGuard, live_dtype: torch.dtype | None
) -> tuple[InputSignature, Graph, Batch]:
    """Record loss and gradients of a batch; no step is taken, but random state and buffers change.

    Args:
        step: the eager steps.
        batch: an example.
        guard: which watches the Python state from now on.
        live_dtype: of the tensors that stand for floats among the arguments; None where these are constants.

    Returns:
        The order of the inputs, the graph, and the batch as the graph takes it: its rows gathered where the data's
        transform cannot be traced.

    Raises:
        CannotTrace: the program is no fixed sequence of tensor operations.
    """
    signature = InputSignature.of(batch, live_dtype)
    try:
        return signature, _trace(step, signature, batch, guard), batch
    except CannotTrace:
        if not signature.gathers_rows:
            raise
    batch = materialize(batch)  # perhaps only the data's transform cannot be traced
    signature = InputSignature.of(batch, live_dtype)
    return signature, _trace(step, signature, batch, guard), batch


def _trace(step: Compilable, signature: InputSignature, batch: Batch, guard: StateGuard) -> Graph:
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
    with guard.recording():
        graph = trace(loss_and_gradients, signature.tensors(batch))
    if foreign_random_state() != before:
        raise CannotTrace("it draws from numpy's or Python's random numbers, which a recorded step would repeat")
    clean(graph)
    return graph
