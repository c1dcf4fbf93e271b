"""Checks of what `Story.sample` is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from pyrogen.messages import refuse_masked

_OF_MEMORY = re.compile("allocate|out of memory|overflow|MemoryError", re.IGNORECASE)
"""In what torch says of tensors that no memory holds."""


def checked_rows(n: Any) -> int:
    """Check the number of rows.

    Args:
        n: what `sample` was called with.

    Returns:
        The number.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is below 1.
    """
    if not isinstance(n, Integral) or isinstance(n, bool):
        kind = f"n={n!r}" if isinstance(n, str | float | bool | None) else f"a {type(n).__name__} as n"
        raise TypeError(f"sample takes a whole number n of rows, got {kind}")
    if n < 1:
        raise ValueError(f"sample needs at least 1 row, got n={n}")
    return int(n)


@contextmanager
def within_memory(story: str, n: int) -> Iterator[None]:
    """Let rows that no memory holds be told as such.

    Args:
        story: its name.
        n: number of rows.

    Yields:
        None.

    Raises:
        ValueError: they do not fit.
    """
    try:
        yield
    except Exception as error:
        if not _OF_MEMORY.search(f"{type(error).__name__} {error}"):
            raise
        raise ValueError(f"{story}: n={n:,} rows do not fit in memory: draw fewer at once") from error


def as_column(value: Any, n: int, key: str) -> Tensor:
    """A column to condition on.

    Args:
        value: one value for all rows, or one for each.
        n: number of rows.
        key: its name.

    Returns:
        The column, (n, ...).

    Raises:
        TypeError: it holds no numbers.
        ValueError: it has another number of rows, or is a masked array.
    """
    refuse_masked(f"column '{key}'", value)
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"column '{key}' is a {type(value).__name__}, which holds no numbers of equal rows") from None
    if tensor.dim() == 0:
        return tensor.expand(n)
    if tensor.shape[0] != n:
        raise ValueError(f"column '{key}' has {tensor.shape[0]} rows, expected n={n} (or one value for all)")
    return tensor
