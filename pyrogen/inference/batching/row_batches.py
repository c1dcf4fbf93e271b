"""Data as batches: resident columns drawn by a permutation that a checkpoint can hold, or whatever a loader gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from pyrogen.data import check_columns
from pyrogen.inference.batching.loader_batches import LoaderBatches, leaves_of, length
from pyrogen.story import Batch

__all__ = ["Batches", "RowBatches", "RowColumns", "as_columns", "batches_of", "fetched"]

Columns = dict[str | int, Any]
Transform = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def as_columns(data: Any, dtype: torch.dtype, wants: Callable[[str | int], bool] | None = None) -> Columns:
    """Data in memory as columns: by name from a mapping, by position from a tuple or one bare tensor or array.

    Floating columns become `dtype`. Columns that are not wanted are left out, unless none is wanted: what a program
    lacks is said with what there is.

    Raises:
        TypeError: not data that fit knows.
        ValueError: no column, no rows, columns of different lengths, or values that are not finite.
    """
    if isinstance(data, TensorDataset):
        data = data.tensors
    elif isinstance(data, Dataset) and length(data):
        data = leaves_of(default_collate([data[i] for i in range(len(data))]))  # type: ignore[arg-type]
    if isinstance(data, Mapping):
        columns: Columns = dict(data)
    elif isinstance(data, tuple):
        columns = dict(enumerate(data))
    elif isinstance(data, Tensor | np.ndarray | list):
        columns = {0: data}
    else:
        raise TypeError(
            f"data is a {type(data).__name__}, expected a tensor, an array, a tuple of them, a dict of columns, a "
            "Dataset or a DataLoader"
        )
    if wants is not None:
        columns = {key: column for key, column in columns.items() if wants(key)} or columns
    tensors = {key: _as_tensor(key, column, dtype) for key, column in columns.items()}
    check_columns({str(key): column for key, column in tensors.items()})
    return dict(tensors)


def _as_tensor(key: str | int, column: Any, dtype: torch.dtype) -> Tensor:
    try:
        tensor = torch.as_tensor(column)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"column '{key}' is no array of numbers ({error})") from None
    if tensor.dim() == 0:
        raise ValueError(f"column '{key}' is a single number, expected one value for each row")
    return _cast(tensor, dtype)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


class Batches(Protocol):
    """What training draws from."""

    rows: int | None
    """Rows in the data set, where known."""
    steps: int | None
    """Batches in an epoch, where known."""
    exact: bool
    """Whether the position within an epoch can be restored."""
    cut: bool
    """Whether an epoch was left half-way and can be gone on with."""

    whole: Batch | None
    """The one batch of every epoch to come, where it is the same."""

    def epoch(self) -> Iterator[Batch]:
        """The batches of an epoch, or what is left of one that was restored."""

    def close(self) -> None:
        """The epoch ends here; one that was left half-way is gone on with."""

    def state(self) -> dict[str, Any]:
        """Order and position, for a checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""


class RowColumns(Mapping[str | int, Any]):
    """Columns of some rows, fetched when they are first asked for: a compiled step fetches them by itself.

    Args:
        source: where they come from.
        index: (b,) positions of the rows.
    """

    def __init__(self, source: RowBatches, index: Tensor) -> None:
        self.source, self.index = source, index
        self._fetched: Columns | None = None

    @property
    def fetched(self) -> bool:
        """Whether they were asked for already."""
        return self._fetched is not None

    def fetch(self) -> Columns:
        """The columns."""
        if self._fetched is None:
            self._fetched = self.source.columns(self.index)
        return self._fetched

    def __getitem__(self, key: str | int) -> Any:
        return self.fetch()[key]

    def __iter__(self) -> Iterator[str | int]:
        return iter(self.fetch())

    def __len__(self) -> int:
        return len(self.fetch())


def fetched(batch: Batch, anew: bool = False) -> Batch:
    """The batch with its rows fetched, and transformed; once more, where that was done already, if `anew`."""
    columns = batch.columns
    if not isinstance(columns, RowColumns) or (columns.fetched and not anew):
        return batch
    return replace(batch, columns=columns.source.columns(columns.index))


class RowBatches:
    """Batches of rows in a new random order each epoch; in the given order where one batch holds them all.

    The order is drawn from a generator of its own, so that batches of another size leave the model's noise as it was.

    Args:
        take: from positions (b,) to columns of those rows, on the device.
        rows: how many rows there are.
        batch_size: rows in a batch; the last batch of an epoch may be smaller.
        total: rows in the training set.
        seed: of the order; None keeps the given order.
        device: where the batches are.
        transform: applied to every batch, such as a fresh binarization.
        resident: the columns themselves, where they lie whole on the device.
    """

    exact = True

    def __init__(
        self,
        take: Callable[[Tensor], Columns],
        rows: int,
        batch_size: int,
        total: int,
        seed: int | None,
        device: torch.device,
        transform: Transform | None = None,
        resident: Columns | None = None,
    ) -> None:
        self.resident = resident
        self.key = ("rows", *((k, tuple(c.shape), str(c.dtype), str(c.device)) for k, c in (resident or {}).items()))
        self.rows: int | None = rows
        self.size = min(batch_size, rows)
        self.steps: int | None = -(-rows // self.size)
        self.total, self.device, self.take, self.transform = total, device, take, transform
        shuffled = seed is not None and self.steps > 1
        self.generator = torch.Generator("cpu").manual_seed(seed or 0) if shuffled else None
        self.order = torch.arange(rows, device=device)
        self.position = 0
        self.whole: Batch | None = None

    def epoch(self) -> Iterator[Batch]:
        """The batches of an epoch, or what is left of one that was restored."""
        assert self.rows is not None and self.steps is not None
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
        """The first rows in the given order; the epoch does not move."""
        index = torch.arange(self.size, device=self.device)
        return Batch(self.columns(index), self.size, self.total, index)

    def columns(self, index: Tensor) -> Columns:
        """The columns of the rows at `index`, transformed."""
        columns = self.take(index)
        return columns if self.transform is None else dict(self.transform(columns))  # type: ignore[arg-type]

    def close(self) -> None:
        """The epoch ends here; one that was left half-way is gone on with."""
        if self.position >= (self.steps or 0):
            self.position = 0

    @property
    def cut(self) -> bool:
        """Whether an epoch was left half-way."""
        return self.position > 0

    def state(self) -> dict[str, Any]:
        """Order, position in it, and the generator of orders to come."""
        generator = None if self.generator is None else self.generator.get_state()
        return {"order": self.order, "position": self.position, "generator": generator}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.order, self.position = state["order"].to(self.device), state["position"]
        if self.generator is not None:
            self.generator.set_state(state["generator"])


def batches_of(
    data: Any,
    wants: Callable[[str | int], bool],
    *,
    batch_size: int | None,
    device: torch.device,
    dtype: torch.dtype,
    total: int | None = None,
    seed: int | None = None,
) -> RowBatches | LoaderBatches:
    """Batches of whatever data `fit` takes.

    Args:
        data: see `as_columns`, or a map-style `Dataset`, or a `DataLoader`.
        wants: whether the program can receive a column; others are left out.
        batch_size: rows in a batch; None for all of them.
        device: where the batches are.
        dtype: of floating columns.
        total: rows in the training set; None if this is it.
        seed: of the order of rows; None keeps the given order.
    """
    if isinstance(data, DataLoader):
        return LoaderBatches(data, total if total is not None else length(data.dataset), device)
    if isinstance(data, Dataset) and not isinstance(data, TensorDataset):
        rows = length(data)
        if not rows:
            raise ValueError(
                f"the data set {type(data).__name__} is empty or has no length, expected a map-style Dataset"
            )

        def fetch(index: Tensor) -> Columns:
            columns = leaves_of(default_collate([data[i] for i in index.tolist()]))
            wanted = {key: column for key, column in columns.items() if wants(key)} or columns
            return {k: _cast(c, dtype).to(device) if isinstance(c, Tensor) else c for k, c in wanted.items()}

        return RowBatches(fetch, rows, batch_size or rows, total or rows, seed, device)
    columns = as_columns(data, dtype, wants)
    resident = _resident(columns, device)

    def take(index: Tensor) -> Columns:
        return {key: column[index.to(column.device)].to(device) for key, column in resident.items()}

    rows = len(next(iter(columns.values())))
    transform = getattr(data, "transform", None)
    whole = resident if all(column.device.type == device.type for column in resident.values()) else None
    return RowBatches(take, rows, batch_size or rows, total or rows, seed, device, transform, whole)


def _resident(columns: Columns, device: torch.device) -> Columns:
    """The columns on the device where they fit in half of its free memory, else as they are."""
    if device.type == "cuda":
        size = sum(column.nelement() * column.element_size() for column in columns.values())
        if 2 * size > torch.cuda.mem_get_info(device)[0]:
            return columns
    return {key: column.to(device) for key, column in columns.items()}
