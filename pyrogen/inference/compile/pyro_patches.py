"""Pyro's objectives without reads of tensors' values while a program is traced."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from opt_einsum import shared_intermediates
from pyro.infer import trace_elbo, trace_mean_field_elbo, traceenum_elbo
from pyro.infer.util import Dice
from pyro.ops import packed
from pyro.ops.einsum.adjoint import require_backward
from pyro.ops.rings import MarginalRing
from torch import Tensor
from torch.distributions import Distribution

_PATCHING = threading.RLock()


@contextmanager
def patched_for_tracing() -> Iterator[None]:
    """Pyro's objectives without their reads of tensor values, on this thread only.

    Distributions that were built while validation was on do not validate either.

    Yields:
        None.
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
    """A number as `torch_item` gives it, in double, so that sums round as Python's do."""
    return x.detach().double() if isinstance(x, Tensor) else x


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
