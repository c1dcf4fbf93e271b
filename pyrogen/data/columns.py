"""Named columns with a common first dimension, and their validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pyrogen.messages import refuse_masked

Transform: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]

RESERVED = ("n", "total", "index")
"""Names that no column may have: rows of a batch, rows of the training set, positions of the rows."""

_NOT_DENSE: dict[str, Callable[[Tensor], bool]] = {
    "nested": lambda column: column.is_nested,
    "quantized": lambda column: column.is_quantized,
    "sparse": lambda column: column.layout is not torch.strided,
    "meta": lambda column: column.is_meta,
}
_TO_DENSE = {
    "nested": "pass torch.nested.to_padded_tensor(column, 0.0), and the lengths as a column of their own",
    "quantized": "pass column.dequantize()",
    "sparse": "pass column.to_dense()",
    "meta": "a meta tensor has a shape and no values",
}
CHUNK_ELEMENTS = 2**22
"""Elements of a chunk, in which large columns are processed to bound memory; tests lower it."""


class Columns(dict[str, Tensor]):
    """A dict of tensors, one row for each datum, with an optional transform of each drawn batch.

    The columns hold what is stored (grey values, say); `transform` makes of a batch what is observed (a fresh
    binarization). It is applied after indexing, on the batch's device, and draws from torch's global random state,
    so that a resumed run repeats it.

    Args:
        columns: tensors (N, ...) by name; none by default.
        transform: from a batch, a dict of tensors (B, ...), to a batch; None, the default, leaves it unchanged.
        protocol: a JSON-ready description that a run trained on the columns records; None by default.

    Example:
        >>> train = Columns({"x": torch.zeros(5, 2), "y": torch.arange(5)})
        >>> train
        Columns(x: float32 (5, 2), y: int64 (5,))
        >>> train.rows, train.batch(torch.tensor([3, 1]))["y"]
        (5, tensor([3, 1]))
    """

    def __init__(
        self,
        columns: Mapping[str, Tensor] | None = None,
        transform: Transform | None = None,
        protocol: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(columns or {})
        self.transform, self.protocol = transform, protocol

    @property
    def rows(self) -> int:
        """The common first dimension N; 0 without columns."""
        return len(next(iter(self.values()))) if self else 0

    def batch(self, index: Tensor | slice | None = None) -> dict[str, Tensor]:
        """Some rows, transformed as training receives them.

        Args:
            index: positions (B,), or a slice; None, the default, for all rows.

        Returns:
            Tensors (B, ...) by name.
        """
        batch = dict(self) if index is None else {name: column[index] for name, column in self.items()}
        return batch if self.transform is None else self.transform(batch)

    def take(self, index: Tensor | slice) -> Columns:
        """Some rows as stored, with the same transform.

        Args:
            index: positions (B,), or a slice.

        Returns:
            The columns of these rows.
        """
        return Columns({name: column[index] for name, column in self.items()}, self.transform)

    def to(self, device: torch.device | str) -> Columns:
        """Move the columns to a device, with the same transform.

        Args:
            device: where to.

        Returns:
            The columns there.
        """
        return Columns({name: column.to(device) for name, column in self.items()}, self.transform)

    def copy(self) -> Columns:
        """A shallow copy, with the same transform.

        Returns:
            New columns of the same tensors.
        """
        return Columns(self, self.transform)

    def __repr__(self) -> str:
        parts = [f"{name}: {str(c.dtype).removeprefix('torch.')} {tuple(c.shape)}" for name, c in self.items()]
        if self.transform is not None:
            parts.append(f"transform={self.transform!r}")
        return f"Columns({', '.join(parts)})"


def check_columns(
    columns: Mapping[str, Tensor], name: str = "data", *, any_name: bool = False, finite: bool = True
) -> int:
    """Validate columns: tensors by allowed names, of one length, not empty, finite.

    NaN and infinities are looked for in floating and complex columns only. A name that is no string, or a column that
    is no tensor, is refused with a TypeError.

    Args:
        columns: tensors (N, ...) by name, on any device.
        name: what messages call the data, "data" by default.
        any_name: whether a column may bear a reserved name, as those of plain Pyro functions may; False by default.
        finite: whether values that are not finite are refused; True by default.

    Returns:
        The number of rows N.

    Raises:
        ValueError: there is no column, a reserved name, different lengths, no rows, values that are not finite, a
            masked array, or a tensor that is sparse, nested, quantized or on the meta device.

    Example:
        >>> check_columns({"x": torch.zeros(5, 2), "y": torch.arange(5)})
        5
        >>> check_columns({"x": torch.tensor([0.0, float("nan")])}, "train")
        Traceback (most recent call last):
            ...
        ValueError: train: column 'x' has NaN or infinite values in 1 of 2 rows, first in row 1; expected finite \
numbers: fill or drop these rows
    """
    if not columns:
        raise ValueError(f"{name}: there are no columns; expected at least one tensor of shape (N, ...)")
    for key, column in columns.items():
        _check_column(key, column, name, any_name)
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key!r} has {length}" for key, length in lengths.items())
        raise ValueError(f"{name}: columns of different lengths: {counts} rows; expected one row for each datum in all")
    rows = next(iter(lengths.values()))
    if rows == 0:
        raise ValueError(f"{name}: the data set is empty (0 rows); expected at least one row")
    for key, column in columns.items() if finite else ():
        _check_finite(key, column.detach(), name)
    return rows


def chunks(column: Tensor) -> Iterator[Tensor]:
    """Split a column into chunks of at most `CHUNK_ELEMENTS` elements, but at least one row.

    Args:
        column: a tensor (N, ...).

    Yields:
        Consecutive views (B, ...) of it.
    """
    width = max(1, column.numel() // max(1, len(column)))
    yield from column.split(max(1, CHUNK_ELEMENTS // width))


def _check_column(key: object, column: object, name: str, any_name: bool) -> None:
    if not isinstance(key, str):
        raise TypeError(f"{name}: column name {key!r} is a {type(key).__name__}; expected a string such as 'x'")
    if key in RESERVED and not any_name:
        reserved = ", ".join(RESERVED)
        raise ValueError(f"{name}: a column is named {key!r}, but {reserved} are reserved names: rename the column")
    refuse_masked(f"{name}: column {key!r}", column)
    if not isinstance(column, Tensor):
        kind = type(column).__name__
        raise TypeError(f"{name}: column {key!r} is a {kind}; expected a torch.Tensor (torch.as_tensor makes one)")
    for kind in (kind for kind, is_kind in _NOT_DENSE.items() if is_kind(column)):
        raise ValueError(
            f"{name}: column {key!r} is a {kind} tensor; expected a dense one of numbers: {_TO_DENSE[kind]}"
        )
    if column.ndim == 0:
        raise ValueError(f"{name}: column {key!r} is a scalar; expected shape (N, ...) with one row for each datum")


def _check_finite(key: str, column: Tensor, name: str) -> None:
    if column.is_complex():
        column = torch.view_as_real(column)
    if not column.is_floating_point() or column.numel() == 0:
        return
    # min and max pass NaN on, so both are finite just when all values are; one transfer from the device.
    extremes = torch.stack([torch.stack(torch.aminmax(chunk)) for chunk in chunks(column)])
    if bool(extremes.isfinite().all()):
        return
    bad = torch.cat([~chunk.isfinite().reshape(len(chunk), -1).all(1) for chunk in chunks(column)])
    count, first = int(bad.sum()), int(bad.nonzero()[0])
    raise ValueError(
        f"{name}: column {key!r} has NaN or infinite values in {count} of {len(column)} rows, first in row {first}; "
        "expected finite numbers: fill or drop these rows"
    )
