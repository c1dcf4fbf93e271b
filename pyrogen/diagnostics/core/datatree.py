"""Variables by group as an `xarray.DataTree`: names of dimensions, coordinates, attributes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrogen.diagnostics.core.draw_arrays import Shelf

if TYPE_CHECKING:
    import xarray

__all__ = ["GROUPS", "built"]

GROUPS = (
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "sample_stats",
    "prior",
    "prior_predictive",
    "observed_data",
    "constant_data",
    "importance",
    "importance_summary",
)
"""The groups that `to_datatree` may give, in their order."""

_WITHOUT_DRAWS = ("observed_data", "constant_data", "importance_summary")
_NOTES = {
    "log_likelihood": {
        "about": "log p(x_i given the latents of the draw), nats. With latents of each datum, loo on it is a harmonic "
        "mean: see importance_summary. With shared latents, loo_approximate_posterior takes lp and log_q along.",
    },
    "sample_stats": {"about": "lp: log p(x, z), log_q: log density of the guide at z, nats"},
    "importance": {"about": "by datum, nats, unscaled by any plate: log_weight = log p(x, z) - log q(z given x)"},
    "importance_summary": {
        "about": "by datum, nats: ELBO and importance-weighted log p(x), with Monte Carlo errors; ess of the weights, "
        "and their Pareto k-hat, -inf where they are constant"
    },
}


def built(
    shelf: Shelf,
    rows: str,
    attributes: Mapping[str, Any],
    coords: Mapping[str, Any],
    events: Mapping[str, Iterable[str]],
) -> xarray.DataTree:
    """The shelf as a tree.

    Args:
        shelf: the variables.
        rows: name of the rows' dimension.
        attributes: of the tree; text and numbers only, as netCDF holds.
        coords: labels by dimension.
        events: names of event dimensions by variable.

    Raises:
        ValueError: labels or names for what is not there, or too few or too many of them.
    """
    from arviz_base import from_dict
    from xarray import DataTree

    named = _named(shelf, events)
    labels = _labels(shelf, named, rows, coords)
    library = {key: value for key, value in attributes.items() if key.startswith("inference_library")}
    nodes = {}
    for group, variables in shelf.groups.items():
        # Groups one by one: a variable's dimensions differ between them (log_likelihood has none of the event's).
        tree = from_dict(
            {group: {name: variable.values for name, variable in variables.items()}},
            sample_dims=[] if group in _WITHOUT_DRAWS else ["chain", "draw"],
            dims=named[group],
            coords=labels,
            attrs={group: {**library, **_NOTES.get(group, {})}},
        )
        nodes[group] = tree[group].to_dataset()
    tree = DataTree.from_dict(nodes)
    tree.attrs = dict(attributes)
    return tree


def _named(shelf: Shelf, events: Mapping[str, Iterable[str]]) -> dict[str, dict[str, list[str]]]:
    """The names of all dimensions beyond (chain, draw), by group and variable."""
    known = sorted({name for variables in shelf.groups.values() for name in variables})
    for site in events:
        if site not in known:
            raise ValueError(f"dims: there is no site '{site}' (have: {', '.join(known)})")
    named: dict[str, dict[str, list[str]]] = {}
    for group, variables in shelf.groups.items():
        for name, variable in variables.items():
            given = [*events[name]] if name in events else []
            numbered = (f"{name}_dim_{i}" for i in itertools.count())
            free = itertools.chain(given, itertools.islice(numbered, len(given), None))
            named.setdefault(group, {})[name] = [next(free) if dim is None else dim for dim in variable.dims]
    return named


def _labels(
    shelf: Shelf, named: dict[str, dict[str, list[str]]], rows: str, coords: Mapping[str, Any]
) -> dict[str, Any]:
    """Coordinates by dimension: the caller's; else 0, 1, ..., which for rows is their index."""
    sizes: dict[str, int] = {}
    for group, variables in shelf.groups.items():
        for name, variable in variables.items():
            dims = named[group][name]
            sizes.update(zip(dims, variable.values.shape[variable.values.ndim - len(dims) :], strict=True))
    for dim, labels in coords.items():
        if dim not in sizes:
            raise ValueError(f"coords: there is no dimension '{dim}' (have: {', '.join(sizes)}; rows: {rows})")
        if len(labels) != sizes[dim]:
            raise ValueError(f"coords: dimension '{dim}' has size {sizes[dim]}, and {len(labels)} labels are given")
    return {**{dim: np.arange(size) for dim, size in sizes.items()}, **coords}
