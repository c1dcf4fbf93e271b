"""Data in memory as named columns of tensors."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from pyrogen.data import check_columns
from pyrogen.inference.batching.loader_batches import Columns, length, named_leaves

Transform = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def as_columns(
    data: Any, dtype: torch.dtype, wants: Callable[[str | int], bool] | None = None, any_name: bool = False
) -> Columns:
    """Data in memory as columns: by name from a mapping, by position from a tuple or one bare tensor or array.

    Args:
        data: a tensor, an array, a list of numbers, a tuple of them, a dict of columns, or a map-style `Dataset`; None
            for a program that takes no data.
        dtype: of floating-point columns.
        wants: whether a column is kept; None keeps all, and so does a function that wants none of them, so that the
            program can say which column it lacks.
        any_name: whether a column may be called `n`, `total` or `index`; False by default.

    Returns:
        The columns as tensors with a common first dimension, by name or position.

    Raises:
        TypeError: `data` is of another kind, or a column does not hold numbers.
        ValueError: no column, no rows, or columns of different lengths. Values that are not finite may be handled by
            the program, and are not refused here.
    """
    if (data is None or (isinstance(data, Mapping) and not data)) and wants is not None and not wants(0):
        data = torch.zeros(1)  # one row, which a program without arguments does not see
    if isinstance(data, TensorDataset):
        data = data.tensors
    elif isinstance(data, Dataset) and length(data):
        data = named_leaves(default_collate([data[i] for i in range(len(data))]))  # type: ignore[arg-type]
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
    check_columns({str(key): column for key, column in tensors.items()}, any_name=any_name, finite=False)
    return dict(tensors)


def describe_columns(columns: Mapping[str | int, Tensor]) -> dict[str, Any]:
    """Shape, type and checksum of every column, ready for JSON: a run is not resumed on other data.

    Args:
        columns: by name or position.

    Returns:
        By name: `shape`, `dtype`, and `crc32` of the column's bytes.
    """
    return {
        str(key): {"shape": list(c.shape), "dtype": str(c.dtype).removeprefix("torch."), "crc32": _checksum(c)}
        for key, c in columns.items()
    }


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in `dtype` if it is a floating-point one, else as it is.

    Args:
        tensor: of any type.
        dtype: of floating-point tensors.

    Returns:
        The tensor.
    """
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _checksum(column: Tensor) -> int:
    return zlib.crc32(np.ascontiguousarray(column.detach().cpu().numpy()).view(np.uint8).data)


def _as_tensor(key: str | int, column: Any, dtype: torch.dtype) -> Tensor:
    if np.ma.is_masked(column):
        raise ValueError(
            f"column '{key}' is a masked array, whose mask would be lost: fill it (array.filled(value)) and pass "
            "~array.mask as a column of its own, which the model can give to poutine.mask; or drop these rows"
        )
    try:
        tensor = torch.as_tensor(column)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"column '{key}' is no array of numbers ({error})") from None
    if tensor.dim() == 0:
        raise ValueError(f"column '{key}' is a single number, expected one value for each row")
    return cast(tensor, dtype)
