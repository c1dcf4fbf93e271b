"""Compiled steps: the traced loss and gradients of one kind of batch, through torch's compiler.

A step of a small model is one compiled call, optimizer and all (`whole_step.py`); of a larger one, compiled loss and
gradients and torch's own fused optimizer.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pyro
import torch
from torch import Tensor, nn

from pyrogen.inference.compile.input_signature import Layout
from pyrogen.inference.compile.onednn import by_onednn, onednn_is_faster
from pyrogen.inference.compile.tracing import CannotTrace, Graph, in_brief
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.rng import (
    kept_random_state,
)
from pyrogen.story import Batch

__all__ = ["Compilable", "CompiledGradients", "Plan", "compiled", "kept_state"]

OPTIONS = {"fallback_random": True, "size_asserts": False, "alignment_asserts": False, "layout_optimization": False}
"""Inductor's options. Draws are torch's own, in the program's order, so that they are those of ordinary steps; a plan's
inputs always have the shapes it was made for; and convolutions on a CPU are slower for a change of layout."""


def inductor(module: torch.fx.GraphModule, inputs: Sequence[Tensor], in_cpp: bool = False) -> Callable[..., Any]:
    """The graph as machine code, called without the guards of `torch.compile`: a plan knows what it serves.

    With `in_cpp` the calls of its kernels are C++ as well, where inductor can: a second more to compile, some 5 us less
    to run.
    """
    import torch._inductor

    module = copy.deepcopy(module)
    if onednn_is_faster():
        module = by_onednn(module)
    for node in module.graph.nodes:
        node.meta.clear()  # it is of another tracer
    call: Callable[..., Any]
    if in_cpp:
        options = {**OPTIONS, "cpp_wrapper": True}
        with contextlib.suppress(Exception):  # whatever is wrong with it shows below as well, or is the wrapper's own
            call = torch._inductor.compile(copy.deepcopy(module), list(inputs), options=options)
            call(*inputs)
            return call
    call = torch._inductor.compile(module, list(inputs), options=dict(OPTIONS))
    return call


COMPILER: Callable[..., Callable[..., Any]] = inductor
"""What compiles a graph for inputs, as `inductor` does."""


class Compilable(Protocol):
    """What can be compiled: the steps of `fit`, or of a stock loop."""

    name: str
    number: int
    objective: Any
    optimization: Optimization
    autocast: bool
    modules: list[nn.Module]

    def loss(self, batch: Batch) -> Tensor:
        """The undivided loss of a batch, to differentiate."""

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss of a batch and the gradients of what is trained, no step taken."""

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live."""

    def divisor(self, batch: Batch) -> float:
        """By what the batch's loss is divided to be per datum."""


class Plan(Protocol):
    """How the steps of one kind of batch are taken.

    Args:
        layout: of its inputs.
        graph: the traced loss and gradients.
        mode: "compiled" or "captured".
    """

    layout: Layout
    graph: Graph
    mode: str

    def __call__(self, batch: Batch) -> Tensor | float:
        """Take a step; the loss before it, undivided. Nothing moves where the loss is not finite."""

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss and its gradients, no step taken; random state and buffers move."""


def compiled(module: torch.fx.GraphModule, inputs: Sequence[Tensor], in_cpp: bool = False) -> Callable[..., Any]:
    """The graph through torch's compiler, called once so that what is wrong shows now; `in_cpp`: see `inductor`.

    Raises:
        CannotTrace: the graph cannot be compiled here.
    """
    told = logging.getLogger("torch.utils.cpp_extension")
    level = told.level
    try:
        told.setLevel(logging.ERROR)  # it warns where CUDA is installed and there is no GPU
        # torch's compiler turns validation off for good: here it comes back.
        with torch.no_grad(), pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = COMPILER(module, inputs, in_cpp)
            call(*inputs)
    except Exception as error:
        text = str(error)
        if "compiler" in text.lower() and ("not found" in text or "No working" in text or "InvalidCxx" in text):
            raise CannotTrace("there is no C++ compiler here (install g++ or clang)") from error
        raise CannotTrace(f"torch cannot compile it ({in_brief(error)})") from error
    finally:
        told.setLevel(level)
    return call


class CompiledGradients:
    """Loss and gradients compiled; clipping, optimizer and averages by torch's fused kernels."""

    mode = "compiled"

    def __init__(self, step: Compilable, layout: Layout, graph: Graph, batch: Batch) -> None:
        self.step, self.layout, self.graph = step, layout, graph
        self.parameters = list(step.optimization.parameters.values())
        self.divisor = step.divisor(batch)
        self.call = compiled(graph.module, [*layout.tensors(batch), *graph.live])

    def __call__(self, batch: Batch) -> Tensor:
        """Take a step; the loss before it, undivided. Nothing moves where the loss is not finite."""
        loss, gradients = self.loss_and_gradients(batch)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if math.isfinite(loss):
            self.step.optimization.step(self.divisor)
        return loss

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss and its gradients, no step taken; random state and buffers move."""
        with torch.no_grad():
            loss, *gradients = self.call(*self.layout.tensors(batch), *self.graph.live)
        return loss, gradients


@contextmanager
def kept_state(step: Compilable) -> Iterator[None]:
    """Run the program freely: random state, parameters, buffers and moments are afterwards what they were."""
    weights = {id(b): b for module in step.modules for b in module.buffers(recurse=False)}
    weights |= {id(tensor): tensor for tensor in step.weights().values()}
    held = {name: tensor.clone() for name, tensor in weights.items()}
    packed = step.optimization.packed
    state = None if packed is None else packed.state.clone()
    try:
        with kept_random_state():
            yield
    finally:
        with torch.no_grad():
            for name, tensor in weights.items():
                tensor.copy_(held[name])
            if packed is not None and state is not None:
                packed.state.copy_(state)
