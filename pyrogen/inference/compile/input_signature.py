"""A batch as the flat tensors that a compiled step receives, and what must agree for one to serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import RowColumns
from pyrogen.inference.compile.tracing import CannotTrace
from pyrogen.story import Batch

__all__ = ["Key", "Layout", "signature_key"]

Key = tuple[Any, ...]


def signature_key(batch: Batch) -> Key:
    """What two batches have in common that one compiled step serves: shapes, types and constants.

    Raises:
        CannotTrace: a column or argument is neither a tensor nor a plain constant.
    """
    columns: Any = batch.columns
    parts = columns.source.key if _by_position(columns) else tuple((n, _leaf(n, c)) for n, c in columns.items())
    extra = tuple((name, _leaf(name, value)) for name, value in batch.extra.items())
    return (parts, batch.n, batch.total, batch.index is not None, extra)


def _by_position(columns: Any) -> bool:
    return isinstance(columns, RowColumns) and not columns.fetched and columns.source.resident is not None


def _leaf(name: str | int, value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise CannotTrace(f"argument '{name}' is a sparse tensor")
        return tuple(value.shape), value.stride(), str(value.dtype), str(value.device)
    if value is None or isinstance(value, bool | int | float | str):
        return type(value).__name__, value  # True, 1 and 1.0 are equal, and make other programs
    raise CannotTrace(f"argument '{name}' is a {type(value).__name__}, neither a tensor nor a plain constant")


@dataclass(frozen=True)
class Layout:
    """Where the tensors of a batch lie among the inputs of a compiled step.

    Args:
        like: a batch of this layout.
        by_position: whether the rows are fetched inside, from the resident columns and the index.
    """

    like: Batch
    by_position: bool

    @classmethod
    def of(cls, batch: Batch) -> Layout:
        """The layout of a batch, with rows fetched inside where that can be."""
        return cls(batch, _by_position(batch.columns))

    def columns(self, batch: Batch) -> Mapping[str | int, Any]:
        """The columns that are inputs: those of the batch's rows, or the resident ones that they are fetched from."""
        columns: Any = batch.columns
        inputs: Mapping[str | int, Any] = columns.source.resident if self.by_position else columns
        return inputs

    def tensors(self, batch: Batch) -> list[Tensor]:
        """The inputs for a batch."""
        index = [] if batch.index is None else [batch.index]
        return [v for v in (*self.columns(batch).values(), *index, *batch.extra.values()) if isinstance(v, Tensor)]

    def batch(self, tensors: Sequence[Tensor]) -> Batch:
        """The batch for inputs; fetches and transforms the rows."""
        rest = iter(tensors)
        columns = {name: next(rest) if isinstance(c, Tensor) else c for name, c in self.columns(self.like).items()}
        index = None if self.like.index is None else next(rest)
        extra = {name: next(rest) if isinstance(v, Tensor) else v for name, v in self.like.extra.items()}
        if self.by_position:
            columns = {name: column[index] for name, column in columns.items()}
            like: Any = self.like.columns
            transform = like.source.transform
            columns = columns if transform is None else dict(transform(columns))
        return Batch(columns, self.like.n, self.like.total, index, extra)
