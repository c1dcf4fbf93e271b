"""Variables by group, filled draw by draw, as arrays with named dimensions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Shelf", "Variable"]


@dataclass
class Variable:
    """An array, and the names of its dimensions beyond (chain, draw), None where nothing names one."""

    values: np.ndarray[Any, Any]
    dims: tuple[str | None, ...]


class Shelf:
    """Variables by group; those with draws are (chains, draws, ...), of one chain until others are added.

    Args:
        draws: how many draws there will be.
        wanted: the groups that are kept; what is put into others is dropped.
    """

    def __init__(self, draws: int, wanted: Collection[str]) -> None:
        self.draws, self.wanted = draws, wanted
        self.groups: dict[str, dict[str, Variable]] = {}
        self._filled: dict[tuple[str, str], int] = {}

    def put(self, group: str, name: str, start: int, block: Tensor, dims: Iterable[str | None]) -> None:
        """Keep some draws of a variable, those from `start` on; what is over of the last block is dropped.

        Args:
            group: of the tree.
            name: of the variable.
            start: how many draws came before.
            block: (draws of this block, ...).
            dims: names of the dimensions after that.

        Raises:
            ValueError: the variable was not there, or had another shape, in the draws before.
        """
        if group not in self.wanted:
            return
        array, variables, name = _array(block), self.groups.setdefault(group, {}), name.replace("/", ".")
        if name not in variables:
            variables[name] = Variable(np.empty((1, self.draws, *array.shape[1:]), array.dtype), _named(dims))
        kept = variables[name].values
        if self._filled.get((group, name), 0) != start or kept.shape[2:] != array.shape[1:]:
            raise ValueError(_CHANGES.format(name, start, array.shape[1:], kept.shape[2:]))
        stop = min(start + len(array), self.draws)
        kept[0, start:stop] = array[: stop - start]
        self._filled[group, name] = stop

    def put_constant(self, group: str, name: str, value: Tensor, dims: Iterable[str | None]) -> None:
        """Keep a variable without draws."""
        if group in self.wanted:
            self.groups.setdefault(group, {})[name.replace("/", ".")] = Variable(_array(value), _named(dims))

    def check(self) -> None:
        """Raise ValueError for a variable that the last draws lack."""
        for (_, name), filled in self._filled.items():
            if filled != self.draws:
                shape = next(g[name].values.shape[2:] for g in self.groups.values() if name in g)
                raise ValueError(_CHANGES.format(name, filled, "none", shape))

    def beside(self, other: Shelf, rows: str) -> Shelf:
        """The same draws of the data here, then of the data there, along the dimension `rows`."""
        for group, variables in self.groups.items():
            for name, mine in variables.items():
                if rows in mine.dims:
                    axis = mine.dims.index(rows) - len(mine.dims)
                    mine.values = np.concatenate([mine.values, other.groups[group][name].values], axis)
        return self

    def chained(self, others: Sequence[Shelf]) -> Shelf:
        """These draws as the first chain, those of the others as further ones; what has no draws stays.

        Raises:
            ValueError: a variable is not the same in all of them.
        """
        for group, name in self._filled:
            mine = self.groups[group][name]
            theirs = [other.groups.get(group, {}).get(name) for other in others]
            chains = [mine.values, *(their.values for their in theirs if their is not None)]
            if len(chains) <= len(others) or len({values.shape for values in chains}) > 1:
                raise ValueError(f"the fits are not of one program: '{name}' of {group} is not the same in all of them")
            mine.values = np.concatenate(chains)
        return self


_CHANGES = (
    "site '{0}' is not the same in every draw (draw {1}: shape {2}, before: {3}), so its draws make no array: leave "
    "out the groups that it is in, or write it with a mask in place of sites that come and go"
)


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    value = value.detach().cpu()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()


def _named(dims: Iterable[str | None]) -> tuple[str | None, ...]:
    return tuple(None if dim is None else dim.replace("/", ".") for dim in dims)
