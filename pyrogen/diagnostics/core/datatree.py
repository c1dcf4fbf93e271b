"""Draws and constants as arrays with named dimensions, by group; and the `xarray.DataTree` made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Array

if TYPE_CHECKING:
    import xarray


GROUPS = (
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "log_prior",
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
    "log_likelihood": "log p(x_i given the latents of the draw), nats, by observed site and pyro.factor in the data "
    "plate, whose sum belongs to the datum. With latents of each datum, loo on it is a "
    "harmonic mean: see importance_summary. With shared latents, loo_approximate_posterior takes lp and log_q along; "
    "loo and compare assume draws of the posterior, to_datatree(..., resample=True).",
    "log_prior": "log p(z) of each latent site given those before it, nats, summed over all but the data plate",
    "sample_stats": "lp: log p(x, z), log_q: log density of the guide at z, nats",
    "importance": "by datum, nats, unscaled by any plate: log_weight = log p(x, z) - log q(z given x)",
    "importance_summary": "by datum, nats: ELBO and importance-weighted log p(x), with Monte Carlo errors; ess of the "
    "weights, and their Pareto k-hat, -inf where they are constant",
}
UNDIVIDED = (
    "factor '{}' depends on the data and sits outside the data plate, so that no row has its share of it and there is "
    "no log-likelihood of single rows: put it inside the plate, one term for each row"
)
"""What is said in place of a log-likelihood by row."""


@dataclass
class Variable:
    """An array with named dimensions.

    Args:
        values: (chains, draws, ...), or without the first two where there are no draws.
        dims: names of the dimensions after (chain, draw); None where the caller or a number names one.
    """

    values: Array
    dims: tuple[str | None, ...]


class DrawArrays:
    """Variables by group, filled draw by draw: one chain, until others are added by `stack_chains`.

    Args:
        num_draws: number of draws of each variable that has any.
        wanted: the groups to keep; what is added to others is dropped.
        rows: name of the rows' dimension.

    Attributes:
        shared_terms: names of the sites and factors that observe outside the data plate.
        undivided: name of a factor among them that depends on the data; None where there is none.
    """

    def __init__(self, num_draws: int, wanted: Collection[str], rows: str) -> None:
        self.num_draws, self.wanted, self.rows = num_draws, wanted, rows
        self.shared_terms: tuple[str, ...] = ()
        self.undivided: str | None = None
        self.groups: dict[str, dict[str, Variable]] = {}
        self._filled: dict[tuple[str, str], int] = {}

    def add_draws(self, group: str, name: str, start: int, block: Tensor, dims: Iterable[str | None]) -> None:
        """Add the draws of a variable from `start` on; those beyond `num_draws` are dropped.

        Args:
            group: name of the group.
            name: name of the variable.
            start: number of the block's first draw.
            block: (draws of this block, ...).
            dims: names of the dimensions after the first.

        Raises:
            ValueError: the variable was missing from an earlier draw, or had another shape there.
        """
        if group not in self.wanted:
            return
        array, variables, name = _array(block), self.groups.setdefault(group, {}), name.replace("/", ".")
        if name not in variables:
            empty = np.empty((1, self.num_draws, *array.shape[1:]), array.dtype)
            variables[name] = Variable(empty, _without_slashes(dims))
        values = variables[name].values
        if self._filled.get((group, name), 0) != start or values.shape[2:] != array.shape[1:]:
            raise ValueError(_CHANGES.format(name, start, array.shape[1:], values.shape[2:]))
        stop = min(start + len(array), self.num_draws)
        values[0, start:stop] = array[: stop - start]
        self._filled[group, name] = stop

    def add_constant(self, group: str, name: str, value: Tensor, dims: Iterable[str | None]) -> None:
        """Add a variable without draws.

        Args:
            group: name of the group.
            name: name of the variable.
            value: of any shape.
            dims: names of its dimensions.
        """
        if group in self.wanted:
            variable = Variable(_array(value), _without_slashes(dims))
            self.groups.setdefault(group, {})[name.replace("/", ".")] = variable

    def check_complete(self) -> None:
        """Check that every variable has all of its draws.

        Raises:
            ValueError: one lacks the last draws.
        """
        for (group, name), filled in self._filled.items():
            if filled != self.num_draws:
                shape = self.groups[group][name].values.shape[2:]
                raise ValueError(_CHANGES.format(name, filled, "none", shape))

    def take_draws(self, chosen: Array, groups: Collection[str]) -> None:
        """Keep some draws in place of all.

        Args:
            chosen: their numbers; they may repeat.
            groups: the groups of which they are kept.
        """
        for group in groups:
            for variable in self.groups.get(group, {}).values():
                variable.values = variable.values[:, chosen]

    def drop(self, group: str, name: str) -> None:
        """Leave a variable out.

        Args:
            group: name of the group.
            name: name of the variable.
        """
        del self.groups[group][name], self._filled[group, name]

    def concatenate_rows(self, other: DrawArrays) -> None:
        """Append the same draws of further data.

        Args:
            other: the arrays of the further data.

        Raises:
            ValueError: the two do not have the same variables, as sites may depend on the rows.
        """
        for group in {**self.groups, **other.groups}:
            differing = self.groups.get(group, {}).keys() ^ other.groups.get(group, {}).keys()
            if differing:
                raise ValueError(
                    f"site '{min(differing)}' of {group} is there for some rows alone, so its draws make no array: "
                    "pass fewer rows, or write it with a mask in place of sites that come and go"
                )
        for group, variables in self.groups.items():
            for name, mine in variables.items():
                if self.rows in mine.dims:
                    axis = mine.dims.index(self.rows) - len(mine.dims)
                    mine.values = np.concatenate([mine.values, other.groups[group][name].values], axis)

    def stack_chains(self, others: Sequence[DrawArrays]) -> None:
        """Append the draws of others as further chains; variables without draws stay as they are.

        Args:
            others: the arrays of the further chains.

        Raises:
            ValueError: a variable is missing from some of them, or has another shape there.
        """
        for group, name in self._filled:
            mine = self.groups[group][name]
            theirs = [other.groups.get(group, {}).get(name) for other in others]
            chains = [mine.values, *(their.values for their in theirs if their is not None)]
            if len(chains) <= len(others) or len({values.shape for values in chains}) > 1:
                raise ValueError(f"the fits are not of one program: '{name}' of {group} is not the same in all of them")
            mine.values = np.concatenate(chains)


_CHANGES = (
    "site '{0}' is not the same in every draw (draw {1}: shape {2}, before: {3}), so its draws make no array: leave "
    "out the groups that it is in, or write it with a mask in place of sites that come and go"
)


def _array(value: Tensor) -> Array:
    value = value.detach().cpu()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()


def _without_slashes(dims: Iterable[str | None]) -> tuple[str | None, ...]:
    """Names that a `DataTree` accepts."""
    return tuple(None if dim is None else dim.replace("/", ".") for dim in dims)


def build_datatree(
    arrays: DrawArrays,
    attributes: Mapping[str, Any],
    coords: Mapping[str, Any],
    event_dims: Mapping[str, Iterable[str]],
) -> xarray.DataTree:
    """The arrays as a tree.

    Args:
        arrays: the variables.
        attributes: of the tree; text and numbers only, as netCDF holds.
        coords: labels by dimension; 0, 1, ... for the others.
        event_dims: names of event dimensions by variable; `<variable>_dim_0`, ... for the others.

    Returns:
        A tree with a node for each group.

    Raises:
        ValueError: `coords` or `event_dims` name something that does not exist, or too few or too many labels.
    """
    from arviz_base import from_dict
    from xarray import DataTree

    known = sorted({name for variables in arrays.groups.values() for name in variables})
    for site in event_dims:
        if site not in known:
            raise ValueError(f"dims: there is no site '{site}' (have: {', '.join(known)})")
    library = {key: value for key, value in attributes.items() if key.startswith("inference_library")}
    datasets, notes = {}, dict(_NOTES)
    if arrays.shared_terms:
        notes["log_likelihood"] += f" Outside the data plate, and not included: {', '.join(arrays.shared_terms)}."
    for group, variables in arrays.groups.items():
        # Groups one by one: a variable's dimensions differ between them (log_likelihood has none of the event's).
        tree = from_dict(
            {group: {name: variable.values for name, variable in variables.items()}},
            sample_dims=[] if group in _WITHOUT_DRAWS else ["chain", "draw"],
            dims={name: _named_dims(variable, event_dims.get(name, ())) for name, variable in variables.items()},
            index_origin=0,
            attrs={group: library | ({"about": notes[group]} if group in notes else {})},
        )
        datasets[group] = tree[group].to_dataset()
    sizes = {str(dim): size for dataset in datasets.values() for dim, size in dataset.sizes.items()}
    for dim, labels in coords.items():
        if dim not in sizes:
            raise ValueError(f"coords: there is no dimension '{dim}' (have: {', '.join(sizes)}; rows: {arrays.rows})")
        if len(labels) != sizes[dim]:
            raise ValueError(f"coords: dimension '{dim}' has size {sizes[dim]}, got {len(labels)} labels")
    for group, dataset in datasets.items():
        datasets[group] = dataset.assign_coords({dim: coords[dim] for dim in coords if dim in dataset.sizes})
    tree = DataTree.from_dict(datasets)
    tree.attrs = dict(attributes)
    if arrays.undivided is not None:
        tree.attrs["log_likelihood"] = UNDIVIDED.format(arrays.undivided)
    return tree


def _named_dims(variable: Variable, event_dims: Iterable[str]) -> list[str | None]:
    """The names of all dimensions beyond (chain, draw); those that are None get a number from ArviZ."""
    names = iter(event_dims)
    return [next(names, None) if dim is None else dim for dim in variable.dims]
