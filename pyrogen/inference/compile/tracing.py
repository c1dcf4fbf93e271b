"""A loss and its gradients as one graph of tensor operations, recorded from a run of a Pyro program.

The program runs once on real tensors, and every operation that reaches torch's dispatcher is recorded, those of
autograd included. Tensors that the program reads besides its inputs (parameters, buffers, an objective's weight) become
inputs too, so that later changes of them count. Python numbers become constants of the graph.
"""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from pyrogen.inference.compile.pyro_patches import patched_for_tracing

aten = torch.ops.aten
_FROM_PYTHON = (aten.lift_fresh.default, aten.lift_fresh_copy.default, aten.lift.default)
"""Operations on a tensor that was just made from Python's or numpy's numbers."""


_KIND = operator.attrgetter("shape", "requires_grad")


class CannotTrace(Exception):
    """The program is no fixed sequence of tensor operations; the message gives the reason."""


@dataclass(frozen=True)
class Layout:
    """What is known of a recorded tensor, as the `meta["layout"]` of its node.

    Args:
        shape: its sizes.
        dtype: its type.
        strides: its strides.
        device: where it is.
        storage: number of its memory; tensors that share memory have the same.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    strides: tuple[int, ...]
    device: torch.device
    storage: int

    @property
    def alike(self) -> tuple[Any, ...]:
        """All but the memory."""
        return self.shape, self.dtype, self.strides, self.device


class Graph:
    """A recorded function.

    Args:
        graph: the operations; the inputs are those of the function, then `captured`.
        owner: holds the constants.
        captured: the tensors that the function reads besides its inputs.
        written: numbers of the storages that operations write to.
    """

    def __init__(self, graph: fx.Graph, owner: nn.Module, captured: list[Tensor], written: set[int]) -> None:
        self.graph, self.owner, self.captured, self.written = graph, owner, captured, written
        self._kinds = list(map(_KIND, captured))

    @functools.cached_property
    def module(self) -> fx.GraphModule:
        """The graph as a module that runs it."""
        return fx.GraphModule(self.owner, self.graph)

    def holds(self) -> bool:
        """Look at the captured tensors.

        Returns:
            Whether they have the shapes that they had, and require gradients or not as they did.
        """
        return list(map(_KIND, self.captured)) == self._kinds

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the graph, operation by operation."""
        return self.module(*inputs, *self.captured)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor], constants: Iterable[Tensor] = ()) -> Graph:
    """Record a function by one run, which changes random state and buffers as any run does.

    Args:
        function: from tensors to a list of tensors.
        inputs: of that run.
        constants: tensors that the function reads and that never change; none by default.

    Returns:
        The function as a graph.

    Raises:
        CannotTrace: the function reads a tensor's value in Python, or returns tensors whose shape depends on values.
    """
    # On aliases: a tensor that is passed twice, or captured by the function too, is an input of its own.
    aliases = [tensor.detach() for tensor in inputs]
    recorder = _Recorder(aliases, constants)
    with patched_for_tracing(), _RefuseConversion(), warnings.catch_warnings(), pyro.validation_enabled(False):
        warnings.simplefilter("ignore")
        try:
            with recorder:
                outputs = function(*aliases)
        except CannotTrace:
            raise
        except Exception as error:
            if isinstance(error.__cause__, CannotTrace):
                raise error.__cause__ from error
            raise CannotTrace(summarize_error(error)) from error
    return recorder.finish(outputs)


def summarize_error(error: Exception) -> str:
    """An error in one line.

    Args:
        error: the error.

    Returns:
        Its type and the first line of its message, at most 200 characters of it.
    """
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


class _RefuseConversion(TorchFunctionMode):
    """Refuses conversions of tensors to numpy or Python, which a trace does not record."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            raise CannotTrace("it takes a tensor's values out of torch (.numpy(), .tolist())")
        return func(*args, **(kwargs or {}))


class _Recorder(TorchDispatchMode):
    """Records each operation as a node, and refuses those whose result a graph cannot hold."""

    def __init__(self, inputs: Sequence[Tensor], constants: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = {id(tensor): tensor for tensor in constants}
        self.graph, self.owner = fx.Graph(), nn.Module()
        self.captured: list[Tensor] = []
        self.written: set[int] = set()
        self._varying: set[int] = set()  # storages whose contents depend on inputs or on random numbers
        self._nodes: Any = WeakTensorKeyDictionary()
        self._storages: dict[int, int] = {}  # of inputs and captured tensors, which live as long as the recording
        self._count = 0
        self._last: fx.Node | None = None  # of the placeholders
        for position, tensor in enumerate(inputs):
            self._placeholder(f"input_{position}", tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch shields the method below from its compiler, whose import takes a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FROM_PYTHON and args[0] not in self._nodes:
            return self._constant(func(*args, **kwargs))
        out = func(*args, **kwargs)
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if func.namespace == "prim" or not (tensors or isinstance(out, Tensor | tuple | list)):
            return out  # it asks for a type or device
        _check_operation(func, args)
        inputs = map_aggregate((args, kwargs), self._as_argument)
        varies = torch.Tag.nondeterministic_seeded in func.tags or any(map(self._varies, tensors))
        if not varies and isinstance(out, bool | int | float | complex):
            return out
        node = self.graph.call_function(func, inputs[0], inputs[1])
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Tensor):
                self.written.add(self._storage(value))
                self._varying.update([self._storage(value)] if varies else [])
        self._register(func, node, out, tensors)
        if varies:
            self._varying.update(self._storage(each) for each in tree_leaves(out) if isinstance(each, Tensor))
        return out

    def finish(self, outputs: Sequence[Tensor]) -> Graph:
        """The graph, once the function has returned."""
        self.graph.output([self._as_argument(tensor) for tensor in outputs])
        return Graph(self.graph, self.owner, self.captured, self.written)

    def _storage(self, tensor: Tensor) -> int:
        layout: Layout = self._nodes[tensor].meta["layout"]
        return layout.storage

    def _varies(self, tensor: Tensor) -> bool:
        """Whether a tensor may have other values in another run: it depends on an input or on random numbers."""
        return self._storage(tensor) in self._varying

    def _register(self, func: Any, node: fx.Node, out: Any, sources: Sequence[Tensor]) -> None:
        """Remember which node a result is."""
        if isinstance(out, Tensor):
            self._name(out, node, sources)
        elif isinstance(out, tuple | list) and all(part is None or isinstance(part, Tensor) for part in out):
            for position, part in enumerate(out):
                if part is not None:
                    self._name(part, self.graph.call_function(operator.getitem, (node, position)), sources)
        elif out is not None:
            raise CannotTrace(
                "it reads the value of a tensor in Python (.item(), float(), an `if` on a tensor, a sequential plate)"
                if isinstance(out, bool | int | float | complex)
                else f"{func.name()} returns a {type(out).__name__}"
            )

    def _name(self, tensor: Tensor, node: fx.Node, sources: Sequence[Tensor]) -> None:
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise CannotTrace(f"it makes a tensor of layout {tensor.layout}")
        node.meta["layout"] = self._layout(tensor, sources)
        self._nodes[tensor] = node

    def _layout(self, tensor: Tensor, sources: Sequence[Tensor]) -> Layout:
        """Its layout; its storage is that of the one of `sources` with which it shares memory, else new."""
        memory = tensor.untyped_storage()._cdata
        known = [
            self._storage(source)
            for source in sources
            if source in self._nodes and source.untyped_storage()._cdata == memory
        ]
        self._count += 1
        storage = known[0] if known else self._count
        return Layout(tuple(tensor.shape), tensor.dtype, tuple(tensor.stride()), tensor.device, storage)

    def _as_argument(self, value: Any) -> Any:
        """A node for a tensor; other arguments are constants of the graph."""
        if isinstance(value, torch.Generator):
            raise CannotTrace("it draws by a generator of its own")
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._known and value not in self._nodes:
            self._nodes[value] = self._held(value)
        elif value not in self._nodes:
            self._placeholder(f"captured_{len(self.captured)}", value)
            self.captured.append(value)
        return self._nodes[value]

    def _placeholder(self, name: str, tensor: Tensor) -> None:
        """An input of the graph, after those that it has."""
        if tensor.layout != torch.strided:
            raise CannotTrace(f"it reads a tensor of layout {tensor.layout}")
        first = next(iter(self.graph.nodes), None)
        before = self.graph.inserting_after(self._last) if self._last else self.graph.inserting_before(first)
        with before:
            self._last = self.graph.placeholder(name)
        self._count += 1
        memory = tensor.untyped_storage()._cdata
        layout = (tuple(tensor.shape), tensor.dtype, tuple(tensor.stride()), tensor.device)
        self._last.meta["layout"] = Layout(*layout, self._storages.setdefault(memory, self._count))
        self._varying.add(self._last.meta["layout"].storage)
        self._nodes[tensor] = self._last

    def _constant(self, tensor: Tensor) -> Tensor:
        """A tensor that was made from numbers: each run of the graph has a copy of its own."""
        held = self._held(tensor.detach().clone())
        self._name(tensor, self.graph.call_function(aten.clone.default, (held,)), ())
        return tensor

    def _held(self, tensor: Tensor) -> fx.Node:
        """A tensor that the graph itself holds."""
        layout = self._layout(tensor, ())
        name = f"constant_{layout.storage}"
        self.owner.register_buffer(name, tensor, persistent=False)
        node = self.graph.get_attr(name)
        node.meta["layout"] = layout
        return node


def _check_operation(func: Any, args: Any) -> None:
    """Refuse a result whose shape depends on values: it would be recorded with the shape of this run."""
    by_mask = func is aten.index.Tensor and any(
        index.dtype in (torch.bool, torch.uint8) for index in args[1] if index is not None
    )
    changing = torch.Tag.dynamic_output_shape in func.tags and func is not aten.index.Tensor
    if by_mask or changing:
        raise CannotTrace(
            f"the shape of the result of {func.name().removeprefix('aten::')} depends on values (boolean indexing; use "
            "torch.where or poutine.mask, which keep the shape)"
        )
