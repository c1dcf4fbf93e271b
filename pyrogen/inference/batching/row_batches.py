"""Batches of rows of a data set, in an order that a checkpoint can hold."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.loader_batches import Columns
from pyrogen.story import Batch

Transform = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class RowColumns(Mapping[str | int, Any]):
    """Columns of some rows, gathered when first used: a compiled step gathers them itself.

    Args:
        source: the data set.
        index: (b,) positions of the rows.
    """

    def __init__(self, source: RowBatches, index: Tensor) -> None:
        self.source, self.index = source, index

    @property
    def gathered(self) -> bool:
        """Whether the columns were used already."""
        return "_columns" in vars(self)

    @functools.cached_property
    def _columns(self) -> Columns:
        return self.source.columns(self.index)

    def __getitem__(self, key: str | int) -> Any:
        return self._columns[key]

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def materialize(batch: Batch, anew: bool = False) -> Batch:
    """The batch with its rows gathered and transformed.

    Args:
        batch: of a `RowBatches`, or any other, which is returned as it is.
        anew: gather once more where that was done already; False by default.

    Returns:
        The batch.
    """
    columns = batch.columns
    if not isinstance(columns, RowColumns) or (columns.gathered and not anew):
        return batch
    return replace(batch, columns=columns.source.columns(columns.index))


class RowBatches:
    """Batches of rows in a new random order each epoch; in the given order where one batch holds them all.

    The order is drawn from a generator of its own, so that the model's noise does not depend on the batch size.

    Args:
        take: from positions (b,) to columns of those rows, on the device.
        rows: rows in the data set.
        total: rows in the training set, by which plates are scaled.
        device: where the batches are.
        transform: applied to every batch, such as a fresh binarization; None by default.
        stored: the columns themselves, where they are in memory; None by default.
        description: of the data, for a run's configuration; empty by default.
        protocol: of the data set, for a run's configuration; None by default.
    """

    exact = True

    def __init__(
        self,
        take: Callable[[Tensor], Columns],
        rows: int,
        total: int,
        device: torch.device,
        *,
        transform: Transform | None = None,
        stored: Columns | None = None,
        description: Mapping[str, Any] | None = None,
        protocol: Any = None,
    ) -> None:
        self.take, self.total, self.device, self.transform = take, total, device, transform
        self.stored, self.description, self.protocol = stored, dict(description or {}), protocol
        here = stored is not None and all(column.device.type == device.type for column in stored.values())
        self.resident = stored if here else None
        columns = (self.resident or {}).items()
        self.key = ("rows", *((k, tuple(c.shape), str(c.dtype), str(c.device)) for k, c in columns))
        self.rows = rows
        self._set_size(None, None)

    def with_size(self, batch_size: int | None, seed: int | None) -> RowBatches:
        """Batches of the same data set of another size.

        Args:
            batch_size: rows in a batch; None for all of them. The last batch of an epoch may be smaller.
            seed: of the order of rows; None keeps the given order.

        Returns:
            New batches, at the start of an epoch; the data are shared.
        """
        other = copy.copy(self)
        other._set_size(batch_size, seed)
        return other

    def _set_size(self, batch_size: int | None, seed: int | None) -> None:
        self.size = min(batch_size or self.rows, self.rows)
        self.steps = -(-self.rows // self.size)
        shuffled = seed is not None and self.steps > 1
        self.generator = torch.Generator("cpu").manual_seed(seed or 0) if shuffled else None
        self.order = torch.arange(self.rows, device=self.device)
        self.position = 0
        self.whole: Batch | None = None

    def epoch(self) -> Iterator[Batch]:
        """The batches of an epoch, or the rest of one that was restored.

        Yields:
            One batch after the other; their rows are gathered when used.
        """
        if self.position == 0 and self.generator is not None:
            self.order = torch.randperm(self.rows, generator=self.generator, device="cpu").to(self.device)
        while self.position < self.steps:
            if self.whole is not None:
                self.position += 1
                yield self.whole
                continue
            index = self.order[self.position * self.size : (self.position + 1) * self.size]
            self.position += 1
            batch = Batch(RowColumns(self, index), len(index), self.total, index)
            if self.steps == 1 and self.transform is None:
                self.whole = batch = replace(batch, columns=self.columns(index))
            yield batch
        self.position = 0

    def first(self) -> Batch:
        """The first rows in the given order; the position in the epoch does not change.

        Returns:
            A batch of the usual size.
        """
        return self.batch(torch.arange(self.size, device=self.device))

    def batch(self, index: Tensor) -> Batch:
        """Some rows as a batch; the position in the epoch does not change.

        Args:
            index: (b,) positions of the rows.

        Returns:
            The batch.
        """
        return Batch(self.columns(index), len(index), self.total, index)

    def columns(self, index: Tensor) -> Columns:
        """The columns of some rows, transformed.

        Args:
            index: (b,) positions of the rows.

        Returns:
            Columns of b rows, on the device.
        """
        columns = self.take(index)
        return columns if self.transform is None else dict(self.transform(columns))  # type: ignore[arg-type]

    def close(self) -> None:
        """End the epoch; one that was interrupted is continued next time."""
        if self.position >= self.steps:
            self.position = 0

    @property
    def unfinished_epoch(self) -> bool:
        """Whether an epoch was interrupted."""
        return self.position > 0

    def state(self) -> dict[str, Any]:
        """Order, position in it, and the generator of orders to come.

        Returns:
            The state, for a checkpoint.
        """
        generator = None if self.generator is None else self.generator.get_state()
        return {"order": self.order, "position": self.position, "generator": generator}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        self.order, self.position = state["order"].to(self.device), state["position"]
        if self.generator is not None:
            self.generator.set_state(state["generator"])
