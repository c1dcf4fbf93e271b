"""From whatever data `fit` takes to batches, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from pyrogen.inference.batching.batches import Batches
from pyrogen.inference.batching.columns import as_columns, cast, describe_columns
from pyrogen.inference.batching.loader_batches import Columns, LoaderBatches, length, named_leaves
from pyrogen.inference.batching.row_batches import RowBatches


def make_batches(
    data: Any,
    wants: Callable[[str | int], bool],
    *,
    device: torch.device,
    dtype: torch.dtype,
    total: int | None = None,
    describe: bool = False,
) -> Batches:
    """Batches of whatever data `fit` takes; all rows in one batch until `with_size` says otherwise.

    Args:
        data: what `as_columns` takes, or a `DataLoader`.
        wants: whether the program can receive a column; the others are left out.
        device: where the batches are.
        dtype: of floating-point columns.
        total: rows in the training set; None, the default, if these are they.
        describe: whether to compute checksums of all columns for a run's configuration; False by default.

    Returns:
        The batches.

    Raises:
        TypeError: `data` is of no known kind, or a column does not hold numbers.
        ValueError: no rows, columns of different lengths, or values that are not finite.
    """
    if isinstance(data, DataLoader):
        return LoaderBatches(data, total if total is not None else length(data.dataset), device)
    protocol = getattr(data, "protocol", None)
    if isinstance(data, Dataset) and not isinstance(data, TensorDataset):
        return _of_dataset(data, wants, device, dtype, total)
    columns, description = _described_columns(data, wants, dtype) if describe else (as_columns(data, dtype, wants), {})
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
        protocol=protocol,
    )


def _of_dataset(
    data: Dataset[Any], wants: Callable[[str | int], bool], device: torch.device, dtype: torch.dtype, total: int | None
) -> RowBatches:
    rows = length(data)
    if not rows:
        raise ValueError(f"the data set {type(data).__name__} is empty or has no length, expected a map-style Dataset")

    def take(index: Tensor) -> Columns:
        columns = named_leaves(default_collate([data[i] for i in index.tolist()]))
        wanted = {key: column for key, column in columns.items() if wants(key)} or columns
        return {k: cast(c, dtype).to(device) if isinstance(c, Tensor) else c for k, c in wanted.items()}

    return RowBatches(take, rows, total or rows, device, description={"class": type(data).__name__, "rows": rows})


def _described_columns(
    data: Any, wants: Callable[[str | int], bool], dtype: torch.dtype
) -> tuple[Columns, dict[str, Any]]:
    """The columns that are wanted, and a description of all of them."""
    try:
        columns = as_columns(data, dtype)
    except TypeError:  # perhaps a column that the program does not ask for
        return as_columns(data, dtype, wants), {"class": type(data).__name__}
    return {key: c for key, c in columns.items() if wants(key)} or columns, describe_columns(columns)


def _on_device(columns: Columns, device: torch.device) -> Columns:
    """The columns on the device where they fit in half of its free memory, else where they are."""
    if device.type == "cuda":
        size = sum(column.nelement() * column.element_size() for column in columns.values())
        if 2 * size > torch.cuda.mem_get_info(device)[0]:
            return columns
    return {key: column.to(device) for key, column in columns.items()}
