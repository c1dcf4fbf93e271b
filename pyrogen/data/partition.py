"""Fixed choices of rows: stratified splits into training, validation and test data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrogen.data.columns import Columns
from pyrogen.data.draws import bit_stream, permutation

# Fixes the rows of the splits; no argument of `load` changes it.
_SEED = 1797
_MAX_CLASSES = 10_000
"""Classes that are believed to be labels where there are fewer rows."""


def partition(rows: int, labels: NDArray[np.int64] | None = None) -> tuple[NDArray[np.intp], ...]:
    """Positions of the training, validation and test rows: 70, 10 and 20 in a hundred, in a fixed random order.

    With labels, each class keeps these shares to within a row (two in training). The sizes are the same either way:
    floor(0.7 N), round(0.1 N) and the rest, at least one row each.

    Args:
        rows: number of rows N, at least 3.
        labels: a class for each row, shape (N,); None, the default, for plain shuffling.

    Returns:
        Three arrays of positions, disjoint, together 0, ..., N - 1.

    Example:
        >>> [len(positions) for positions in partition(1797)]
        [1257, 180, 360]
    """
    train = max(1, min(7 * rows // 10, rows - 2))
    validation = max(1, (rows + 5) // 10)
    stream = bit_stream(_SEED)
    order = permutation(stream, rows)
    codes = np.unique(np.zeros(rows) if labels is None else labels, return_inverse=True)[1][order]
    ties = permutation(stream, int(codes.max()) + 1)
    split = np.zeros(rows, dtype=np.intp)
    for part, size in ((2, rows - train - validation), (1, validation)):
        free = np.flatnonzero(split == 0)
        share = _apportion(np.bincount(codes[free], minlength=len(ties)), size, ties)
        split[free[_rank_in_class(codes[free]) < share[codes[free]]]] = part
    return tuple(order[split == part] for part in range(3))


def split_columns(columns: dict[str, Tensor], name: str) -> tuple[Columns, Columns, Columns]:
    """Split columns by `partition`, stratified on `y` where it is one integer a datum.

    Args:
        columns: tensors (N, ...) by name.
        name: what messages call the data.

    Returns:
        Training, validation and test columns.

    Raises:
        ValueError: there are fewer than 3 rows.
    """
    rows = len(next(iter(columns.values())))
    if rows < 3:
        raise ValueError(f"{name}: {rows} row(s) cannot be split; expected at least 3, one for each of three splits")
    y = columns.get("y")
    labels = y.numpy() if y is not None and y.ndim == 1 and y.dtype == torch.int64 else None
    parts = [torch.from_numpy(positions) for positions in partition(rows, labels)]
    train, validation, test = (Columns({key: c[positions] for key, c in columns.items()}) for positions in parts)
    return train, validation, test


def count_classes(columns: dict[str, Tensor]) -> int | None:
    """The number of classes in column `y`.

    Args:
        columns: tensors (N, ...) by name; `y` is -1 where a label is missing.

    Returns:
        max(y) + 1; None where `y` is missing, has no labels, is not one integer of at least -1 a datum, or goes up to
        10,000 or more and to the number of rows or more: such numbers are no labels.

    Example:
        >>> count_classes({"y": torch.tensor([0, 2, 1])})
        3
    """
    y = columns.get("y")
    if y is None or y.ndim != 1 or y.dtype != torch.int64 or int(y.min()) < -1:
        return None
    classes = int(y.max()) + 1
    return classes if 0 < classes <= max(_MAX_CLASSES, len(y)) else None


def _apportion(counts: NDArray[np.intp], size: int, ties: NDArray[np.intp]) -> NDArray[np.intp]:
    """Shares of `size` in proportion to `counts`, rounded by largest remainders, ties in the order given."""
    quota, remainder = np.divmod(counts * size, counts.sum())
    ranked = np.lexsort((ties, -remainder))
    quota[ranked[: size - quota.sum()]] += 1
    return quota


def _rank_in_class(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many rows of the same class come before each row."""
    by_class = np.argsort(codes, kind="stable")
    starts = np.cumsum(np.bincount(codes)) - np.bincount(codes)
    rank = np.empty_like(codes)
    rank[by_class] = np.arange(len(codes)) - starts[codes[by_class]]
    return rank
