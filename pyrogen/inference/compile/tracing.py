"""A loss and its gradients as one graph of tensor operations, traced from a Pyro program.

`make_fx` runs the program once on real tensors and records every operation, those of autograd included. Tensors that
the program reads besides its inputs (parameters, buffers, an objective's weight) become inputs too, so that later
changes of them count.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pyro
import torch
from opt_einsum import shared_intermediates
from pyro.infer import trace_elbo, trace_mean_field_elbo, traceenum_elbo
from pyro.infer.util import Dice
from pyro.ops import packed
from pyro.ops.einsum.adjoint import require_backward
from pyro.ops.rings import MarginalRing
from torch import Tensor, fx
from torch.distributions import Distribution
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode


class CannotTrace(Exception):
    """The program is no fixed sequence of tensor operations; the message gives the reason."""


class _RefuseConversion(TorchFunctionMode):
    """Refuses conversions of tensors to numpy or Python, which a trace does not record."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            raise CannotTrace("it takes a tensor's values out of torch (.numpy(), .tolist())")
        return func(*args, **(kwargs or {}))


class Graph:
    """A traced function.

    Args:
        module: the graph; its inputs are those of the function, then `captured`.
        captured: the tensors that the function reads besides its inputs.
    """

    def __init__(self, module: fx.GraphModule, captured: list[Tensor]) -> None:
        self.module, self.captured = module, captured

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the graph, operation by operation."""
        return self.module(*inputs, *self.captured)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Graph:
    """Trace a function by one run, which changes random state and buffers as any run does.

    Args:
        function: from tensors to a list of tensors.
        inputs: of that run.

    Returns:
        The function as a graph.

    Raises:
        CannotTrace: the function reads a tensor's value in Python, or returns tensors whose shape depends on values.
    """
    with _patch_for_tracing(), _RefuseConversion(), warnings.catch_warnings(), pyro.validation_enabled(False):
        warnings.simplefilter("ignore")
        try:
            # On aliases: a tensor that is passed twice, or captured by the function too, is an input of its own.
            module = make_fx(function, tracing_mode="real")(*[tensor.detach() for tensor in inputs])
        except CannotTrace:
            raise
        except Exception as error:
            text = str(error)
            if "get value out of a tracing tensor" in text or "_local_scalar_dense" in text or "data-dependent" in text:
                raise CannotTrace(
                    "it reads the value of a tensor in Python (.item(), float(), an `if` on a tensor, a sequential "
                    "plate)"
                ) from error
            raise CannotTrace(summarize_error(error)) from error
    _refuse_changing_shapes(module)
    return Graph(module, _lift_captured(module))


def summarize_error(error: Exception) -> str:
    """An error in one line.

    Args:
        error: the error.

    Returns:
        Its type and the first line of its message, at most 200 characters of it.
    """
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


def _refuse_changing_shapes(module: fx.GraphModule) -> None:
    """Refuse boolean indexing: it is traced with the shape of this run, and fails or is wrong on the next batch."""
    for node in module.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        tags = node.target.tags
        by_mask = node.target is torch.ops.aten.index.Tensor and any(
            _dtype(index) in (torch.bool, torch.uint8) for index in node.args[1] if index is not None
        )
        changing = torch.Tag.dynamic_output_shape in tags and node.target is not torch.ops.aten.index.Tensor
        if by_mask or changing or torch.Tag.data_dependent_output in tags:
            raise CannotTrace(
                f"the shape of the result of {node.target.name().removeprefix('aten::')} depends on values (boolean "
                "indexing; use torch.where or poutine.mask, which keep the shape)"
            )


def _dtype(node: Any) -> torch.dtype | None:
    value = node.meta.get("tensor_meta", node.meta.get("val"))
    return getattr(value, "dtype", None)


def _lift_captured(module: fx.GraphModule) -> list[Tensor]:
    """Turn the tensors that the graph holds into inputs after its own; constants made in the run itself stay."""
    graph = module.graph
    graph.eliminate_dead_code()
    placeholders: dict[int, fx.Node] = {}
    captured: list[Tensor] = []
    last = [node for node in graph.nodes if node.op == "placeholder"]
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        value = getattr(module, node.target)
        fresh = all(user.target is torch.ops.aten.lift_fresh_copy.default for user in node.users)
        if not isinstance(value, Tensor) or fresh:
            continue
        if id(value) not in placeholders:
            with graph.inserting_after(last[-1]) if last else graph.inserting_before(next(iter(graph.nodes))):
                last.append(graph.placeholder(f"captured_{len(captured)}"))
            last[-1].meta["val"] = SimpleNamespace(shape=value.shape, dtype=value.dtype, device=value.device)
            placeholders[id(value)] = last[-1]
            captured.append(value)
        node.replace_all_uses_with(placeholders[id(value)])
        graph.erase_node(node)
    module.recompile()
    return captured


_PATCHING = threading.RLock()


@contextmanager
def _patch_for_tracing() -> Iterator[None]:
    """Pyro's objectives without their reads of tensor values, on this thread only.

    Distributions that were built while validation was on do not validate either.
    """
    patches: list[tuple[Any, str, Callable[..., Any]]] = [
        (module, name, replacement)
        for module in (trace_elbo, trace_mean_field_elbo, traceenum_elbo)
        for name, replacement in (("torch_item", _detached), ("warn_if_nan", _unchecked))
        if hasattr(module, name)
    ]
    patches += [(Dice, "compute_expectation", _expected_cost), (Distribution, "_validate_sample", _unchecked)]
    with _PATCHING:
        originals = [getattr(owner, name) for owner, name, _ in patches]
        try:
            for (owner, name, replacement), original in zip(patches, originals, strict=True):
                setattr(owner, name, _on_this_thread(replacement, original))
            yield
        finally:
            for (owner, name, _), original in zip(patches, originals, strict=True):
                setattr(owner, name, original)


def _on_this_thread(replacement: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """`replacement` on this thread, `original` on others."""
    thread = threading.get_ident()

    def dispatch(*args: Any, **kwargs: Any) -> Any:
        return (replacement if threading.get_ident() == thread else original)(*args, **kwargs)

    return dispatch


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _unchecked(value: Any, *_: Any, **__: Any) -> Any:
    return value


def _expected_cost(dice: Any, costs: dict[Any, Any]) -> Any:
    """`Dice.compute_expectation`, costs of probability 0 masked where Pyro indexes, which changes the shape."""
    expected: Any = 0.0
    with shared_intermediates() as cache:
        ring = MarginalRing(cache=cache)
        for ordinal, terms in costs.items():
            factors = dice._get_log_factors(ordinal)
            scale = math.exp(sum(factor for factor in factors if not isinstance(factor, Tensor)))
            tensors = [factor for factor in factors if isinstance(factor, Tensor)]
            queries = _queries(terms, tensors)
            for query in queries.values():
                require_backward(query)
            summed = frozenset().union(*(t._pyro_dims for t in tensors)) - ordinal  # type: ignore[attr-defined]
            ring.sumproduct(tensors, summed)._pyro_backward()
            for cost in terms:
                query = queries[frozenset(cost._pyro_dims)]
                probability = query._pyro_backward_result.exp()
                probability._pyro_dims = query._pyro_dims
                cost, probability = packed.broadcast_all(cost, probability)
                is_possible = probability > 0
                weighted = torch.where(is_possible, probability, 0.0) * torch.where(is_possible, cost, 0.0)
                expected = expected + scale * weighted.sum()
    return expected


def _queries(terms: list[Any], factors: list[Any]) -> dict[frozenset[str], Any]:
    """For each set of dimensions of a cost, a factor with these dimensions; one of zeros is added where none has."""
    queries: dict[frozenset[str], Any] = {}
    for cost in terms:
        dims = frozenset(cost._pyro_dims)
        if dims in queries:
            continue
        queries[dims] = next((factor for factor in factors if frozenset(factor._pyro_dims) == dims), None)
        if queries[dims] is None:
            queries[dims] = torch.zeros_like(cost)
            queries[dims]._pyro_dims = cost._pyro_dims
            factors.append(queries[dims])
    return queries
