"""A recorded graph without what changes no bit of its results: dead code, repetitions, constants, copies.

Operations that write or draw stay in their order, and so does what shares memory with something that is written. What
is left is called by torch's own functions, which take half the time of a call by `torch.ops`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from pyrogen.inference.compile.onednn import onednn_is_faster, use_onednn
from pyrogen.inference.compile.tracing import Graph, aten

MAX_CONSTANT = 100_000
"""Numbers in the largest constant that is computed once and kept."""

_OF_SHAPE_ALONE = (aten.zeros_like.default, aten.ones_like.default, aten.full_like.default)
_COPIES = (
    aten.alias.default,
    aten.detach.default,
    aten.view.default,
    aten._unsafe_view.default,
    aten.expand.default,
    aten.clone.default,
    aten._to_copy.default,
    aten.sum.default,
)
"""Operations whose result equals their argument where the two are alike in shape, type and strides."""
_UNCHANGED_BY_ONE = (aten.mul.Scalar, aten.mul.Tensor, aten.div.Scalar, aten.div.Tensor, aten.pow.Tensor_Scalar)
_STATEFUL = ("batch_norm", "empty")
"""In the names of operations that write to, or return, memory of which their schema does not tell."""


def clean(graph: Graph) -> None:
    """Remove what changes no bit of the results, of buffers and of random numbers.

    Args:
        graph: as `trace` returns it; changed in place.
    """
    _fold_constants(graph.graph, graph.owner, graph.written)
    _remove_copies(graph.graph, graph.written)
    _merge_repetitions(graph.graph, graph.written)
    _separate_outputs(graph.graph)
    _remove_dead_code(graph.graph)


def _has_effect(node: fx.Node) -> bool:
    """Whether the node writes, draws or returns memory that is not filled."""
    target: Any = node.target
    if node.op != "call_function" or target is operator.getitem:
        return node.op in ("placeholder", "output")
    mutable, draws = target._schema.is_mutable, torch.Tag.nondeterministic_seeded in target.tags
    return mutable or draws or any(part in target.name() for part in _STATEFUL)


def _is_pure(node: fx.Node, written: set[int]) -> bool:
    """Whether the node's value is a function of its arguments' values, and none of them ever changes."""
    if node.op != "call_function" or _has_effect(node):
        return False
    layouts = [n.meta["layout"] for n in (node, *node.all_input_nodes) if "layout" in n.meta]
    return all(layout.storage not in written for layout in layouts)


def _fold_constants(graph: fx.Graph, owner: nn.Module, written: set[int]) -> None:
    """Compute once what depends on constants alone."""
    values: dict[fx.Node, Tensor] = {}
    for node in list(graph.nodes):
        layout = node.meta.get("layout")
        if node.op == "get_attr" and layout.storage not in written:
            values[node] = getattr(owner, str(node.target))
        elif _is_pure(node, written) and layout is not None and math.prod(layout.shape) <= MAX_CONSTANT:
            known = node.target in _OF_SHAPE_ALONE or all(source in values for source in node.all_input_nodes)
            if not known or node.target is operator.getitem:
                continue
            args, kwargs = map_arg((node.args, node.kwargs), lambda n: values[n] if n in values else _blank(n))
            target: Any = node.target
            with torch.no_grad():
                values[node] = target(*args, **kwargs)
    for node, value in values.items():
        if node.op == "call_function":
            name = f"folded_{node.name}"
            owner.register_buffer(name, value, persistent=False)
            with graph.inserting_before(node):
                constant = graph.get_attr(name)
            constant.meta["layout"] = node.meta["layout"]
            node.replace_all_uses_with(constant)


def _blank(node: fx.Node) -> Tensor:
    """A tensor of the node's layout."""
    layout = node.meta["layout"]
    return torch.empty_strided(layout.shape, layout.strides, dtype=layout.dtype, device=layout.device)


def _remove_copies(graph: fx.Graph, written: set[int]) -> None:
    """Replace a result that equals its argument by the argument."""
    for node in graph.nodes:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or not _is_pure(node, written) or "layout" not in source.meta:
            continue
        if "layout" not in node.meta or node.meta["layout"].alike != source.meta["layout"].alike:
            continue
        by_one = node.target in _UNCHANGED_BY_ONE and node.args[1] == 1
        if node.target in _COPIES or by_one:
            node.replace_all_uses_with(source)
        elif node.target is aten.neg.default and source.target is aten.neg.default and _is_pure(source, written):
            original: Any = source.args[0]
            if original.meta["layout"].alike == node.meta["layout"].alike:
                node.replace_all_uses_with(original)


def _merge_repetitions(graph: fx.Graph, written: set[int]) -> None:
    """Replace an operation by an earlier one with the same arguments."""
    earlier: dict[tuple[Any, str, str], fx.Node] = {}
    for node in graph.nodes:
        if _is_pure(node, written):
            key = (node.target, repr(node.args), repr(node.kwargs))  # 1, 1.0 and True are equal, and are not the same
            if key in earlier:
                node.replace_all_uses_with(earlier[key])
            earlier.setdefault(key, node)


def _separate_outputs(graph: fx.Graph) -> None:
    """Give each output memory of its own: whoever receives it may write to it."""
    output = graph.output_node()
    taken = {n.meta["layout"].storage for n in graph.nodes if n.op in ("placeholder", "get_attr") and n.users}
    outputs: Any = output.args[0]
    separate = []
    for node in outputs:
        layout = node.meta["layout"]
        if layout.storage in taken or 0 in layout.strides:
            with graph.inserting_before(output):
                own = graph.call_function(aten.clone.default, (node,), {"memory_format": torch.contiguous_format})
            own.meta["layout"] = layout
            node = own
        taken.add(layout.storage)
        separate.append(node)
    output.args = (separate,)


def _remove_dead_code(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if not node.users and not _has_effect(node):
            graph.erase_node(node)


def as_torch_calls(recorded: Graph, inputs: Sequence[Tensor]) -> fx.GraphModule:
    """A graph with each operation called by torch's own function, where that gives the same bits.

    Large matrix products go to oneDNN where that is faster; all other operations give the bits of eager steps.

    Args:
        recorded: the graph, which stays as it is; it runs once, so that random state and buffers change.
        inputs: of that run, captured tensors included.

    Returns:
        A module that runs it.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(recorded.graph, {}))
    if onednn_is_faster():
        use_onednn(graph)
    chosen = _Comparison(recorded.owner, graph)
    with torch.no_grad():
        chosen.run(*inputs)
    for node, function in chosen.functions.items():
        node.target = function
    return fx.GraphModule(recorded.owner, graph)


class _Comparison(fx.Interpreter):
    """Runs a graph, and finds a function of torch's for each operation that gives the same result."""

    def __init__(self, owner: nn.Module, graph: fx.Graph) -> None:
        super().__init__(owner, graph=graph)
        self.functions: dict[fx.Node, Callable[..., Any]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        target: Any = n.target
        if n.op == "call_function" and target is not operator.getitem and isinstance(result, Tensor):
            function = _native(target)
            if function is not None:
                args, kwargs = self.fetch_args_kwargs_from_env(n)
                if _gives(function, args, kwargs, result):
                    self.functions[n] = function
        return result


def _native(target: Any) -> Callable[..., Any] | None:
    """The function of torch's of that name, if the operation neither writes nor draws."""
    if target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags or "empty" in target.name():
        return None
    name = target._schema.name.split("::")[1]
    owners: tuple[Any, ...] = (torch._C._nn, torch._C._VariableFunctions, Tensor)
    return next((getattr(owner, name) for owner in owners if hasattr(owner, name)), None)


def _gives(function: Callable[..., Any], args: Any, kwargs: Any, result: Tensor) -> bool:
    """Whether the function returns a result, to the bit."""
    try:
        other = function(*args, **kwargs)
    except (TypeError, RuntimeError, ValueError):
        return False
    alike = isinstance(other, Tensor) and (other.shape, other.dtype, other.stride()) == (
        result.shape,
        result.dtype,
        result.stride(),
    )
    return alike and torch.equal(other, result)
