"""The batches of a `DataLoader`, unchanged."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from pyrogen.story import Batch

Columns = dict[str | int, Any]
"""Columns by name, or by position where they came without one."""


class LoaderBatches:
    """The batches of a `DataLoader` as they are: a dict by name, a tuple by position, leaves of any type.

    Args:
        loader: the loader.
        total: rows in the training set, where known.
        device: where the batches go.
    """

    exact = False
    unfinished_epoch = False
    whole: Batch | None = None
    stored: Columns | None = None
    protocol: Any = None
    transform = None

    def __init__(self, loader: DataLoader[Any], total: int | None, device: torch.device) -> None:
        self.loader, self.total, self.device = loader, total, device
        self.rows = rows_of(loader)
        self.steps = length(loader)
        self.description: dict[str, Any] = {"class": type(loader).__name__}

    def with_size(self, batch_size: int | None, seed: int | None) -> LoaderBatches:
        """The loader decides on size and order of its batches.

        Args:
            batch_size: ignored.
            seed: ignored.

        Returns:
            This object.
        """
        return self

    def epoch(self) -> Iterator[Batch]:
        """The loader's batches.

        Yields:
            One batch after the other, on the device.

        Raises:
            ValueError: the loader gave none.
        """
        empty = True
        for size, leaves in zip(self._sizes(), self.loader, strict=False):
            empty = False
            columns = named_leaves(leaves)
            yield Batch(columns, _rows_in(columns, size), self.total).to(self.device)
        if empty:
            raise ValueError(
                "the DataLoader gave no batch: is its data set empty, or smaller than a batch with drop_last?"
            )

    def _sizes(self) -> Iterator[int | None]:
        """Rows of each batch, as far as the loader says; the last one may be smaller."""
        size, rows = self.loader.batch_size, length(self.loader.sampler) if self.rows is not None else None
        yield from itertools.repeat(size, rows // size if rows and size else 0)
        yield from itertools.repeat(rows % size if rows and size else size)

    def first(self) -> Batch:
        """The loader's first batch.

        Returns:
            The batch, on the device.
        """
        return next(self.epoch())

    def state(self) -> dict[str, Any]:
        """The generators of the loader and its sampler; an epoch starts anew on resume.

        Returns:
            Their states, for a checkpoint.
        """
        return {"generators": [g.get_state() for g in self._generators()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        for generator, value in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(value)

    def close(self) -> None:
        """End the epoch."""

    def _generators(self) -> list[torch.Generator]:
        held = (self.loader.generator, getattr(self.loader.sampler, "generator", None))
        return list({id(g): g for g in held if isinstance(g, torch.Generator)}.values())


def rows_of(loader: DataLoader[Any]) -> int | None:
    """The rows in a loader's data set, where known.

    Args:
        loader: the loader.

    Returns:
        The length of its data set; None where that has none, or holds batches (`batch_size=None`).
    """
    return None if loader.batch_sampler is None else length(loader.dataset)


def length(sized: Any) -> int | None:
    """The length of a data set or loader, where it has one.

    Args:
        sized: anything.

    Returns:
        `len(sized)`, or None where it has no length.
    """
    try:
        return len(sized)
    except TypeError:
        return None


def named_leaves(leaves: Any) -> Columns:
    """What a loader's batch holds, by name or position.

    Args:
        leaves: a mapping, a sequence, or a single leaf.

    Returns:
        The columns.
    """
    if isinstance(leaves, PackedSequence):
        return {0: leaves}
    if isinstance(leaves, Mapping):
        return dict(leaves)
    return dict(enumerate(leaves)) if isinstance(leaves, Sequence) and not isinstance(leaves, str) else {0: leaves}


def _rows_in(columns: Columns, size: int | None) -> int:
    """Rows of a batch: of its first tensor column; else of what nested columns and lists hold."""
    leaves = sorted(columns.values(), key=lambda column: not isinstance(column, Tensor | PackedSequence))
    known = [n for n in (_rows(leaf, size) for leaf in leaves) if n is not None]
    if not known:
        raise ValueError("a batch of the DataLoader holds nothing with a length: its number of rows 'n' is not known")
    return known[0]


def _rows(leaf: Any, size: int | None) -> int | None:
    """Rows of one column, where it has any."""
    if isinstance(leaf, PackedSequence):
        return int(leaf.batch_sizes[0])
    if isinstance(leaf, Tensor):
        return len(leaf) if leaf.dim() else None
    if isinstance(leaf, str | bytes):
        return None
    if isinstance(leaf, Mapping) or dataclasses.is_dataclass(leaf):
        parts = leaf.values() if isinstance(leaf, Mapping) else vars(leaf).values()
        return next((n for n in (_rows(part, size) for part in parts) if n is not None), None)
    # A list holds the rows, or, as `default_collate` makes it, fields of as many rows each.
    if isinstance(leaf, list | tuple) and len(leaf) != size:
        lengths = {_rows(part, size) for part in leaf}
        if len(lengths) == 1 and None not in lengths:
            return lengths.pop()
    return length(leaf)
