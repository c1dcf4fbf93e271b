"""From whatever data `fit` takes to named columns of tensors, and to batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from pyrogen.data import check_columns
from pyrogen.inference.batching.loader_batches import Columns, LoaderBatches, length, named_leaves, rows_of
from pyrogen.inference.batching.row_batches import RowBatches
from pyrogen.messages import refuse_masked

Batches = RowBatches | LoaderBatches
"""Batches of a data set, epoch by epoch.

`rows` and `steps` are the rows in the data set and the batches in an epoch, where known; `exact` says whether the
position within an epoch can be restored; `whole` is the one batch of every epoch to come, where it is the same.
"""


_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def make_batches(
    data: Any,
    wants: Callable[[str | int], bool],
    *,
    device: torch.device,
    dtype: torch.dtype,
    total: int | None = None,
    describe: bool = False,
    any_name: bool = False,
) -> Batches:
    """Batches of whatever data `fit` takes; all rows in one batch until `with_size` says otherwise.

    Args:
        data: what `as_columns` takes, or a `DataLoader`.
        wants: whether the program can receive a column; the others are left out.
        device: where the batches are.
        dtype: of floating-point columns.
        total: rows in the training set; None, the default, if these are they.
        describe: whether to compute checksums of all columns for a run's configuration; False by default.
        any_name: whether a column may be called `n`, `total` or `index`; False by default.

    Returns:
        The batches.

    Raises:
        TypeError: `data` is of no known kind, or a column does not hold numbers.
        ValueError: no rows, or columns of different lengths.
    """
    if isinstance(data, DataLoader):
        refuse_masked("the DataLoader's data set", data.dataset)
        return LoaderBatches(data, total if total is not None else rows_of(data), device)
    if isinstance(data, Dataset) and not isinstance(data, TensorDataset):
        return _of_dataset(data, wants, device, dtype, total)
    columns, description = _columns(data, wants, dtype, describe, any_name)
    rows = len(next(iter(columns.values())))
    stored = _on_device(columns, device)

    def take(index: Tensor) -> Columns:
        return {key: column[index.to(column.device)].to(device) for key, column in stored.items()}

    return RowBatches(
        take,
        rows,
        total or rows,
        device,
        transform=getattr(data, "transform", None),
        stored=stored,
        description=description,
        protocol=getattr(data, "protocol", None),
    )


def _of_dataset(
    data: Dataset[Any], wants: Callable[[str | int], bool], device: torch.device, dtype: torch.dtype, total: int | None
) -> RowBatches:
    rows = length(data)
    if not rows:
        raise ValueError(f"the data set {type(data).__name__} is empty or has no length, expected a map-style Dataset")

    def take(index: Tensor) -> Columns:
        columns = _collate([data[i] for i in index.tolist()])
        wanted = {key: column for key, column in columns.items() if wants(key)} or columns
        return {k: cast(c, dtype).to(device) if isinstance(c, Tensor) else c for k, c in wanted.items()}

    return RowBatches(take, rows, total or rows, device, description={"class": type(data).__name__, "rows": rows})


def _collate(items: list[Any]) -> Columns:
    """The items of a data set as columns."""
    for item in items:
        for key, leaf in named_leaves(item).items():
            refuse_masked(f"column '{key}'", leaf)
    return named_leaves(default_collate(items))


def _columns(
    data: Any, wants: Callable[[str | int], bool], dtype: torch.dtype, describe: bool, any_name: bool
) -> tuple[Columns, dict[str, Any]]:
    """The columns that are wanted, and a description of all of them."""
    if not describe:
        return as_columns(data, dtype, wants, any_name), {}
    if data is None or (isinstance(data, Mapping) and not data):
        return as_columns(data, dtype, wants, any_name), {}
    try:
        columns = as_columns(data, dtype, any_name=any_name)
    except TypeError:  # perhaps a column that the program does not ask for
        return as_columns(data, dtype, wants, any_name), {"class": type(data).__name__}
    return {key: c for key, c in columns.items() if wants(key)} or columns, describe_columns(columns)


def _on_device(columns: Columns, device: torch.device) -> Columns:
    """The columns on the device where they fit in half of its free memory, else where they are."""
    if device.type == "cuda":
        size = sum(column.nelement() * column.element_size() for column in columns.values())
        if 2 * size > torch.cuda.mem_get_info(device)[0]:
            return columns
    return {key: column.to(device) for key, column in columns.items()}


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
        data = _collate([data[i] for i in range(len(data))])  # type: ignore[arg-type]
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
    described = {}
    for key, column in columns.items():
        checksum = zlib.crc32(np.ascontiguousarray(column.detach().cpu().numpy()).view(np.uint8).data)
        dtype = str(column.dtype).removeprefix("torch.")
        described[str(key)] = {"shape": list(column.shape), "dtype": dtype, "crc32": checksum}
    return described


def training_checksums(batches: Batches) -> dict[str, int]:
    """Checksums of the columns of a training set.

    Args:
        batches: of the set, described.

    Returns:
        By name, or position as text; none where data are changed for each batch, or are not held as columns.
    """
    described = batches.description
    if "class" in described or getattr(batches, "transform", None) is not None:
        return {}
    return {key: column["crc32"] for key, column in described.items()}


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in `dtype` if it is a floating-point one, else as it is.

    Args:
        tensor: of any type.
        dtype: of floating-point tensors.

    Returns:
        The tensor.
    """
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _as_tensor(key: str | int, column: Any, dtype: torch.dtype) -> Tensor:
    refuse_masked(f"column '{key}'", column)
    try:
        tensor = torch.as_tensor(column)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"column '{key}' is no array of numbers ({error})") from None
    if tensor.dtype in _UNSIGNED:  # of which torch computes little
        signed = tensor.to(torch.int64)
        if bool((signed < 0).any()):
            raise ValueError(f"column '{key}' of {tensor.dtype} has numbers above the range of int64: rescale it")
        tensor = signed
    if tensor.dim() == 0:
        raise ValueError(f"column '{key}' is a single number, expected one value for each row")
    return cast(tensor, dtype)
