"""Compiled steps: the traced loss and gradients of one kind of batch, through torch's compiler.

A step of a small model is one compiled call, optimizer and all; of a larger one, compiled loss and gradients and
torch's own fused optimizer.
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

from pyrogen.inference.batches import fetched
from pyrogen.inference.layout import Layout
from pyrogen.inference.optimizing import Optimizing
from pyrogen.inference.packed import Packed
from pyrogen.inference.products import by_onednn, onednn_is_faster
from pyrogen.inference.random_state import foreign_random_state, kept_random_state, torch_random_state
from pyrogen.inference.tracing import CannotTrace, Graph, in_brief, trace
from pyrogen.story import Batch

__all__ = ["Compilable", "CompiledGradients", "Plan", "WholeStep", "compiled", "kept_state", "plan_for"]

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
    optimizing: Optimizing
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


def plan_for(step: Compilable, batch: Batch) -> CompiledGradients | WholeStep:
    """Trace and compile the steps of such batches; nothing moves.

    Raises:
        CannotTrace: the program cannot be traced, or not be compiled here.
    """
    step.optimizing.pack()
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
        if step.optimizing.packed is not None:
            return WholeStep(step, layout, graph, batch)
        return CompiledGradients(step, layout, graph, batch)


def traced(step: Compilable, layout: Layout, batch: Batch) -> Graph:
    """Loss and gradients of such a batch as a graph."""
    parameters = step.optimizing.parameters

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
        self.parameters = list(step.optimizing.parameters.values())
        self.divisor = step.divisor(batch)
        self.call = compiled(graph.module, [*layout.tensors(batch), *graph.live])

    def __call__(self, batch: Batch) -> Tensor:
        """Take a step; the loss before it, undivided. Nothing moves where the loss is not finite."""
        loss, gradients = self.loss_and_gradients(batch)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if math.isfinite(loss):
            self.step.optimizing.step(self.divisor)
        return loss

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss and its gradients, no step taken; random state and buffers move."""
        with torch.no_grad():
            loss, *gradients = self.call(*self.layout.tensors(batch), *self.graph.live)
        return loss, gradients


class WholeStep:
    """Loss, gradients, clipping, Adam and averages of a small model as one compiled call."""

    mode = "compiled"

    def __init__(self, step: Compilable, layout: Layout, graph: Graph, batch: Batch) -> None:
        assert step.optimizing.packed is not None
        self.layout, self.graph, self.optimizing = layout, graph, step.optimizing
        self.packed: Packed = step.optimizing.packed
        clip = None if self.optimizing.clip_norm is None else self.optimizing.clip_norm * step.divisor(batch)
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
            self.optimizing.count()
        return loss

    def several(self, batch: Batch, most: int) -> tuple[list[float], list[Tensor]]:
        """Take steps on one batch, up to the first whose loss is not finite, which moves nothing.

        Returns:
            The losses before them, undivided, and the random state before the last.
        """
        losses: list[float] = []
        self.packed.bring_up()
        call, inputs = self.call, self._inputs(batch)
        with torch.no_grad():
            while len(losses) < most and (not losses or math.isfinite(losses[-1])):
                before = torch_random_state()
                losses.append(float(call(*inputs)[0]))
        moved = len(losses) - (not math.isfinite(losses[-1]))
        self.packed.counted += moved
        self.optimizing.count(moved)
        return losses, before

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss and its gradients, no step taken; random state and buffers move."""
        state = self.packed.state.clone()
        with torch.no_grad():
            loss, gradient = self.call(*self._inputs(batch))
            self.packed.state.copy_(state)
        self.packed.counted = -1
        return loss, self.packed.split(gradient)


@contextmanager
def kept_state(step: Compilable) -> Iterator[None]:
    """Run the program freely: random state, parameters, buffers and moments are afterwards what they were."""
    weights = {id(b): b for module in step.modules for b in module.buffers(recurse=False)}
    weights |= {id(tensor): tensor for tensor in step.weights().values()}
    held = {name: tensor.clone() for name, tensor in weights.items()}
    packed = step.optimizing.packed
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
