"""A batch as the flat list of tensors that a recorded step receives, and which batches one recorded step can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import RowColumns
from pyrogen.inference.compile.tracing import CannotTrace
from pyrogen.story import Batch

Key = tuple[Any, ...]
CONSTANTS_BEFORE_INPUT = 3
"""Values of a float among the arguments after which floats are inputs: each value would be traced anew."""


def signature_key(batch: Batch, live: bool = False) -> Key:
    """What two batches must have in common for one recorded step: shapes, types, devices and constants.

    A column or argument that is neither a dense tensor nor a plain constant is refused (`CannotTrace`).

    Args:
        batch: the batch.
        live: whether numbers with a fractional part are inputs, and no constants; False by default.

    Returns:
        A hashable key.
    """
    columns: Any = batch.columns
    described = (
        columns.source.key if _is_index_only(columns) else tuple((n, _describe(n, c, live)) for n, c in columns.items())
    )
    extra = tuple((name, _describe(name, value, live)) for name, value in batch.extra.items())
    return (described, batch.n, batch.total, batch.index is not None, extra)


def _is_index_only(columns: Any) -> bool:
    """Whether the rows were not gathered yet, and can be by the compiled step."""
    return isinstance(columns, RowColumns) and not columns.gathered and columns.source.resident is not None


def _describe(name: str | int, value: Any, live: bool) -> Any:
    if live and type(value) is float:
        return "float"
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise CannotTrace(f"argument '{name}' is a sparse tensor")
        return tuple(value.shape), value.stride(), str(value.dtype), str(value.device)
    if value is None or isinstance(value, bool | int | float | str):
        return type(value).__name__, value  # True, 1 and 1.0 are equal, and make different programs
    raise CannotTrace(f"argument '{name}' is a {type(value).__name__}, expected a tensor or a plain constant")


class SignatureKeys:
    """The signatures of a run's batches, in which floats that change again and again are inputs, and no constants.

    Attributes:
        live_floats: whether floats are inputs.
        last: the batch whose signature was asked for last, or None.
    """

    def __init__(self) -> None:
        self.live_floats = False
        self.last: Batch | None = None
        self._key: Key = ()
        self._seen: dict[Key, set[Key]] = {}  # by signature without floats

    def key(self, batch: Batch) -> Key:
        """The batch's signature.

        Args:
            batch: the batch.

        Returns:
            A hashable key.
        """
        if batch is self.last:
            return self._key
        self.last, self._key = batch, signature_key(batch, self.live_floats)
        if not self.live_floats and any(type(value) is float for value in self._plain(batch)):
            seen = self._seen.setdefault(signature_key(batch, live=True), set())
            seen.add(self._key)
            if len(seen) > CONSTANTS_BEFORE_INPUT:
                self.live_floats, self._seen = True, {}
                self._key = signature_key(batch, live=True)
        return self._key

    def _plain(self, batch: Batch) -> list[Any]:
        """Values among which a float may be."""
        return [*batch.extra.values(), *(() if _is_index_only(batch.columns) else batch.columns.values())]


@dataclass(frozen=True)
class InputSignature:
    """The order of a batch's tensors among the inputs of a compiled step.

    Args:
        example: a batch of this signature.
        gathers_rows: whether the recorded step gathers the rows itself, from the resident columns and the index.
        live_dtype: of the tensors that stand for numbers with a fractional part; None where these are constants.
    """

    example: Batch
    gathers_rows: bool
    live_dtype: torch.dtype | None

    @classmethod
    def of(cls, batch: Batch, live_dtype: torch.dtype | None) -> InputSignature:
        """The signature of a batch; rows are gathered by the recorded step where that is possible.

        Args:
            batch: the batch.
            live_dtype: of the tensors that stand for numbers with a fractional part; None where these are constants.

        Returns:
            The signature.
        """
        return cls(batch, _is_index_only(batch.columns), live_dtype)

    def tensors(self, batch: Batch) -> list[Tensor]:
        """The inputs for a batch.

        Args:
            batch: of this signature.

        Returns:
            Columns, index and further arguments, as far as they are tensors or stand for changing numbers.
        """
        index = [] if batch.index is None else [batch.index]
        values = (*self._columns(batch).values(), *index, *batch.extra.values())
        return [
            v if isinstance(v, Tensor) else torch.tensor(v, dtype=self.live_dtype) for v in values if self._is_input(v)
        ]

    def _is_input(self, value: Any) -> bool:
        return isinstance(value, Tensor) or (self.live_dtype is not None and type(value) is float)

    def batch(self, tensors: Sequence[Tensor]) -> Batch:
        """The batch for inputs; its rows are gathered and transformed here where they were not before.

        Args:
            tensors: as `tensors` returns them.

        Returns:
            The batch.
        """
        rest, example = iter(tensors), self.example
        columns = {name: next(rest) if self._is_input(c) else c for name, c in self._columns(example).items()}
        index = None if example.index is None else next(rest)
        extra = {name: next(rest) if self._is_input(v) else v for name, v in example.extra.items()}
        if self.gathers_rows:
            columns = {name: column[index] for name, column in columns.items()}
            row_columns: Any = example.columns
            transform = row_columns.source.transform
            columns = columns if transform is None else dict(transform(columns))
        return Batch(columns, example.n, example.total, index, extra)

    def _columns(self, batch: Batch) -> Mapping[str | int, Any]:
        """The columns that are inputs: those of the batch, or the resident ones from which its rows are gathered."""
        columns: Any = batch.columns
        inputs: Mapping[str | int, Any] = columns.source.resident if self.gathers_rows else columns
        return inputs
