"""A loss and its gradients as one graph of tensor operations, traced out of a Pyro program.

`make_fx` runs the program once on real tensors and notes every operation, those of autograd among them. What the graph
reads beside its inputs (parameters, buffers, an objective's live weight) is made an input too, so that it stays live.
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

__all__ = ["CannotTrace", "Graph", "in_brief", "trace"]


class CannotTrace(Exception):
    """The program is no fixed sequence of tensor operations; the message says why."""


class _NoWayOut(TorchFunctionMode):
    """Refuses to let values leave for numpy or Python, which a trace does not see."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            raise CannotTrace("it takes a tensor's values out of torch (.numpy(), .tolist())")
        return func(*args, **(kwargs or {}))


class Graph:
    """A traced function.

    Args:
        module: the graph; its inputs are the function's own, then `live`.
        live: the tensors that the function reads beside its inputs.
    """

    def __init__(self, module: fx.GraphModule, live: list[Tensor]) -> None:
        self.module, self.live = module, live

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the graph, operation by operation."""
        return self.module(*inputs, *self.live)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Graph:
    """Trace `function`, from tensors to a list of tensors, by one run on `inputs`.

    The run has the effects that any run has: random state and buffers move.

    Raises:
        CannotTrace: the function reads a tensor's value in Python, or gives tensors whose shape depends on values.
    """
    with _traceable(), _NoWayOut(), warnings.catch_warnings(), pyro.validation_enabled(False):
        warnings.simplefilter("ignore")
        try:
            # On aliases: a tensor given twice, or known to the function otherwise, is an input of its own.
            module = make_fx(function, tracing_mode="real")(*[tensor.detach() for tensor in inputs])
        except CannotTrace:
            raise
        except Exception as error:
            raise CannotTrace(_in_words(error)) from error
    _refuse_changing_shapes(module)
    return Graph(module, _lifted(module))


def _in_words(error: Exception) -> str:
    text = str(error)
    if "get value out of a tracing tensor" in text or "_local_scalar_dense" in text or "data-dependent" in text:
        return "it reads the value of a tensor in Python (.item(), float(), an `if` on a tensor, a sequential plate)"
    return in_brief(error)


def in_brief(error: Exception) -> str:
    """An error's kind and the first line that it says."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


def _refuse_changing_shapes(module: fx.GraphModule) -> None:
    """Boolean indexing is traced with the shape it happened to have, and would fail, or worse, at the next batch."""
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
                f"the shape of what {node.target.name().removeprefix('aten::')} gives depends on values (boolean "
                "indexing; torch.where or poutine.mask keep the shape)"
            )


def _dtype(node: Any) -> torch.dtype | None:
    value = node.meta.get("tensor_meta", node.meta.get("val"))
    return getattr(value, "dtype", None)


def _lifted(module: fx.GraphModule) -> list[Tensor]:
    """Turn the tensors that the graph holds into inputs behind its own; those made in the run itself stay."""
    graph = module.graph
    graph.eliminate_dead_code()
    places: dict[int, fx.Node] = {}
    live: list[Tensor] = []
    last = [node for node in graph.nodes if node.op == "placeholder"]
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        value = getattr(module, node.target)
        fresh = all(user.target is torch.ops.aten.lift_fresh_copy.default for user in node.users)
        if not isinstance(value, Tensor) or fresh:
            continue
        if id(value) not in places:
            with graph.inserting_after(last[-1]) if last else graph.inserting_before(next(iter(graph.nodes))):
                last.append(graph.placeholder(f"live_{len(live)}"))
            last[-1].meta["val"] = SimpleNamespace(shape=value.shape, dtype=value.dtype, device=value.device)
            places[id(value)] = last[-1]
            live.append(value)
        node.replace_all_uses_with(places[id(value)])
        graph.erase_node(node)
    module.recompile()
    return live


_PATCHING = threading.RLock()


@contextmanager
def _traceable() -> Iterator[None]:
    """Pyro's objectives without their reads of tensor values, on this thread alone.

    Validation is left out of distributions that were built while it was on.
    """
    replaced: list[tuple[Any, str, Callable[..., Any]]] = [
        (module, name, ours)
        for module in (trace_elbo, trace_mean_field_elbo, traceenum_elbo)
        for name, ours in (("torch_item", _detached), ("warn_if_nan", _unchecked))
        if hasattr(module, name)
    ]
    replaced += [(Dice, "compute_expectation", _expected_cost), (Distribution, "_validate_sample", _unchecked)]
    with _PATCHING:
        theirs = [getattr(owner, name) for owner, name, _ in replaced]
        try:
            for (owner, name, ours), original in zip(replaced, theirs, strict=True):
                setattr(owner, name, _here(ours, original))
            yield
        finally:
            for (owner, name, _), original in zip(replaced, theirs, strict=True):
                setattr(owner, name, original)


def _here(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """`ours` on this thread, `theirs` on others."""
    owner = threading.get_ident()

    def either(*args: Any, **kwargs: Any) -> Any:
        return (ours if threading.get_ident() == owner else theirs)(*args, **kwargs)

    return either


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _unchecked(value: Any, *_: Any, **__: Any) -> Any:
    return value


def _expected_cost(dice: Any, costs: dict[Any, Any]) -> Any:
    """`Dice.compute_expectation`, costs of probability 0 left out by value where Pyro leaves them out by shape."""
    expected: Any = 0.0
    with shared_intermediates() as cache:
        ring = MarginalRing(cache=cache)
        for ordinal, terms in costs.items():
            factors = dice._get_log_factors(ordinal)
            scale = math.exp(sum(factor for factor in factors if not isinstance(factor, Tensor)))
            tensors = [factor for factor in factors if isinstance(factor, Tensor)]
            asked = _queries(terms, tensors)
            for query in asked.values():
                require_backward(query)
            summed = frozenset().union(*(t._pyro_dims for t in tensors)) - ordinal  # type: ignore[attr-defined]
            ring.sumproduct(tensors, summed)._pyro_backward()
            for cost in terms:
                query = asked[frozenset(cost._pyro_dims)]
                probability = query._pyro_backward_result.exp()
                probability._pyro_dims = query._pyro_dims
                cost, probability = packed.broadcast_all(cost, probability)
                possible = probability > 0
                weighted = torch.where(possible, probability, 0.0) * torch.where(possible, cost, 0.0)
                expected = expected + scale * weighted.sum()
    return expected


def _queries(terms: list[Any], factors: list[Any]) -> dict[frozenset[str], Any]:
    """For every set of dimensions that a cost has, a factor with these dimensions; one of zeros is added if need be."""
    asked: dict[frozenset[str], Any] = {}
    for cost in terms:
        dims = frozenset(cost._pyro_dims)
        if dims in asked:
            continue
        asked[dims] = next((factor for factor in factors if frozenset(factor._pyro_dims) == dims), None)
        if asked[dims] is None:
            asked[dims] = torch.zeros_like(cost)
            asked[dims]._pyro_dims = cost._pyro_dims
            factors.append(asked[dims])
    return asked
