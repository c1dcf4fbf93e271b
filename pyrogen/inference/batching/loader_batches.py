"""The batches of a `DataLoader`, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from pyrogen.story import Batch

__all__ = ["LoaderBatches", "leaves_of", "length"]

Columns = dict[str | int, Any]


class LoaderBatches:
    """The batches of a `DataLoader` as they are: a dict by name, a tuple by position, leaves of any type."""

    exact = False
    cut = False
    whole: Batch | None = None

    def __init__(self, loader: DataLoader[Any], total: int | None, device: torch.device) -> None:
        self.loader, self.total, self.device = loader, total, device
        self.rows = length(loader.dataset)
        self.steps = length(loader)

    def epoch(self) -> Iterator[Batch]:
        """The loader's batches."""
        empty = True
        for leaves in self.loader:
            empty = False
            columns = leaves_of(leaves)
            yield Batch(columns, _rows_in(columns), self.total).to(self.device)
        if empty:
            raise ValueError(
                "the DataLoader gave no batch: is its data set empty, or smaller than a batch with drop_last?"
            )

    def first(self) -> Batch:
        """The loader's first batch."""
        return next(self.epoch())

    def state(self) -> dict[str, Any]:
        """The generators of the loader and its sampler; it starts its epochs anew."""
        return {"generators": [g.get_state() for g in self._generators()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for generator, value in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(value)

    def _generators(self) -> list[torch.Generator]:
        held = (self.loader.generator, getattr(self.loader.sampler, "generator", None))
        return list({id(g): g for g in held if isinstance(g, torch.Generator)}.values())

    def close(self) -> None:
        """The epoch ends here."""


def length(sized: Any) -> int | None:
    """How many there are, where that is known."""
    try:
        return len(sized)
    except TypeError:
        return None


def leaves_of(leaves: Any) -> Columns:
    """What a batch holds, by name or position."""
    if isinstance(leaves, PackedSequence):
        return {0: leaves}
    if isinstance(leaves, Mapping):
        return dict(leaves)
    return dict(enumerate(leaves)) if isinstance(leaves, Sequence) and not isinstance(leaves, str) else {0: leaves}


def _rows_in(columns: Columns) -> int:
    for column in columns.values():
        if isinstance(column, PackedSequence):
            return int(column.batch_sizes[0])
        if isinstance(column, Tensor) and column.dim():
            return len(column)
    lengths = [rows for column in columns.values() if (rows := length(column)) is not None]
    if not lengths:
        raise ValueError("a batch of the DataLoader holds nothing with a length: its number of rows 'n' is not known")
    return lengths[0]
