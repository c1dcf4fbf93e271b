"""Recorded steps: the loss and gradients of batches of one signature, as a graph or through torch's compiler.

A traced step runs the graph's operations one by one, with the bits of an eager step. A compiled step of a small model
is one compiled call, optimizer included (`fused_step.py`); of a larger one, compiled loss and gradients and torch's own
fused optimizer.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pyro
import torch
from torch import Tensor, fx, nn

from pyrogen.inference.compile.graph_cleanup import as_torch_calls
from pyrogen.inference.compile.input_signature import InputSignature
from pyrogen.inference.compile.onednn import onednn_is_faster, use_onednn
from pyrogen.inference.compile.tracing import CannotTrace, Graph, summarize_error
from pyrogen.inference.optim.gradients import set_gradients
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.program.rng import preserve_random_state
from pyrogen.story import Batch

OPTIONS = {
    "fallback_random": True,
    "size_asserts": False,
    "alignment_asserts": False,
    "layout_optimization": False,
    "cpp.vec_isa_ok": True,
}
"""Inductor's options. Draws are torch's own, in the program's order, so that they are those of eager steps; a compiled
step is only called with inputs of the shapes it was compiled for; convolutions on a CPU are slower when their memory
layout is changed; whether the compiler knows the processor's vector instructions is seen when it is used, and not by
programs compiled and run before, which take three times as long as the step itself."""


def inductor(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """The graph compiled by inductor, called without the guards of `torch.compile`.

    Args:
        module: the graph.
        inputs: tensors of the shapes, types and devices that it will be called with.

    Returns:
        A function of such inputs.
    """
    import torch._inductor

    module = copy.deepcopy(module)
    if onednn_is_faster():
        use_onednn(module.graph)
        module.recompile()
    for node in module.graph.nodes:
        node.meta.clear()  # of another tracer
    call: Callable[..., Any]
    if any(tensor.is_cuda for tensor in inputs):
        cuda_graphs = {**OPTIONS, "triton.cudagraphs": True}
        call = torch._inductor.compile(module, list(inputs), options=cuda_graphs)

        def call_as_new_iteration(*args: Tensor) -> Any:
            torch.compiler.cudagraph_mark_step_begin()  # outputs of the call before may be overwritten
            return call(*args)

        return call_as_new_iteration
    call = torch._inductor.compile(module, list(inputs), options=dict(OPTIONS))
    return call


COMPILER: Callable[..., Callable[..., Any]] = inductor
"""The backend: compiles a graph for inputs, as `inductor` does."""


class Compilable(Protocol):
    """What has steps that can be compiled: `SVIStep`, or the drop-in for Pyro's `SVI`."""

    name: str
    number: int
    objective: Any
    optimization: Optimization
    autocast: bool
    drop_in: bool
    """Whether the steps are those of a loop of Pyro's own, which is never told that steps are not compiled."""
    modules: list[nn.Module]

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, to differentiate.

        Args:
            batch: the rows.

        Returns:
            (), in nats of the whole data plate.
        """

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss of a batch and its gradients; no step is taken.

        Args:
            batch: the rows.

        Returns:
            The loss in nats of the whole data plate, and a gradient for each trained parameter.
        """
        loss = self.loss(batch)
        return loss.detach(), list(torch.autograd.grad(loss, list(self.optimization.parameters.values())))

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live."""

    def roots(self) -> list[Any]:
        """Functions and objects from which all that the program may read is reached."""

    def divisor(self, batch: Batch) -> float:
        """The number by which the loss is divided to be per datum.

        Args:
            batch: the rows.

        Returns:
            The size of the data plate.
        """


def compile_graph(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """Compile a graph, and call it once so that faults show now.

    On CUDA inductor's own CUDA graphs are used (`triton.cudagraphs`): outputs are valid until the next call. That was
    never run, for want of a device; `tests/inference/compile/test_gpu.py` compares such steps with eager ones.

    Args:
        module: the graph.
        inputs: tensors of the shapes, types and devices that it will be called with.

    Returns:
        A function of such inputs.

    Raises:
        CannotTrace: the graph cannot be compiled on this machine.
    """
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it warns where CUDA is installed and there is no GPU
        # torch's compiler turns validation off for good: here it is restored.
        with torch.no_grad(), pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = COMPILER(module, inputs)
            call(*inputs)
    except Exception as error:
        text = str(error)
        if "compiler" in text.lower() and ("not found" in text or "No working" in text or "InvalidCxx" in text):
            raise CannotTrace("there is no C++ compiler here (install g++ or clang)") from error
        raise CannotTrace(f"torch cannot compile it ({summarize_error(error)})") from error
    finally:
        logger.setLevel(level)
    return call


class RecordedGradients:
    """A step whose loss and gradients are a recorded graph; clipping, optimizer and averages are torch's own.

    Args:
        step: the eager steps.
        signature: of the inputs.
        graph: the recorded loss and gradients.
        batch: an example.
        compiled: whether the graph is compiled, or its operations are called one by one.
    """

    def __init__(
        self,
        step: Compilable,
        signature: InputSignature,
        graph: Graph,
        batch: Batch,
        compiled: bool,
    ) -> None:
        self.step, self.signature, self.graph = step, signature, graph
        self.parameters = list(step.optimization.parameters.values())
        self.divisor = step.divisor(batch)
        inputs = [*signature.tensors(batch), *graph.captured]
        self.call = compile_graph(graph.module, inputs) if compiled else as_torch_calls(graph, inputs).forward

    def __call__(self, batch: Batch) -> float:
        """Take a step, unless the loss is not finite.

        Args:
            batch: of this signature.

        Returns:
            The loss before the step, in nats of the whole data plate.
        """
        tensor, gradients = self.loss_and_gradients(batch)
        loss = tensor.item()
        set_gradients(self.parameters, gradients)
        if math.isfinite(loss):
            self.step.optimization.step(self.divisor)
        return loss

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradients; no step is taken, but random state and buffers change.

        Args:
            batch: of this signature.

        Returns:
            The loss in nats of the whole data plate, and a gradient for each trained parameter.
        """
        with torch.no_grad():
            loss, *gradients = self.call(*self.signature.tensors(batch), *self.graph.captured)
        return loss, gradients


@contextmanager
def preserve_training_state(step: Compilable) -> Iterator[None]:
    """Run without side effects: random state, parameters, buffers and flattened moments are restored.

    Args:
        step: whose they are.

    Yields:
        None.
    """
    weights = {id(b): b for module in step.modules for b in module.buffers(recurse=False)}
    weights |= {id(tensor): tensor for tensor in step.weights().values()}
    if step.optimization.flat is not None:
        weights[id(step.optimization.flat.state)] = step.optimization.flat.state
    held = [(tensor, tensor.clone()) for tensor in weights.values()]
    try:
        with preserve_random_state():
            yield
    finally:
        with torch.no_grad():
            for tensor, value in held:
                tensor.copy_(value)
