"""A user's own arrays: .npz and .npy files, read without pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrogen.data.columns import check_columns
from pyrogen.data.images import as_grey
from pyrogen.data.partition import count_classes, split_columns
from pyrogen.data.splits import Splits


def read_numpy(file: Path, name: str) -> Splits:
    """Read a `.npz` file (a column for each key) or a `.npy` file (column `x`), split 70/10/20.

    An `x` of bytes with at least three dimensions holds images: it becomes value / 255 with 256 grey levels. Other
    integers become int64, floating numbers float32 (float64 stays), a boolean `x` float32. Pickled, damaged or
    non-numeric content, and columns that `check_columns` refuses, are refused with a ValueError or TypeError.

    Args:
        file: the file.
        name: what messages and reports call the data.

    Returns:
        The splits.
    """
    arrays = _load_arrays(file, name)
    images = "x" in arrays and arrays["x"].dtype == np.uint8 and arrays["x"].ndim >= 3
    columns = {key: _tensor(array, key, name) for key, array in arrays.items()}
    return file_splits(columns, name, levels=256 if images else None)


def file_splits(
    columns: dict[str, Tensor], name: str, levels: int | None = None, alphabet: str | None = None
) -> Splits:
    """Check columns and put them in three splits, stratified on integer `y`.

    Args:
        columns: tensors (N, ...) by name.
        name: what messages and reports call the data.
        levels: number of grey levels of `x`; None, the default, where it holds none.
        alphabet: the characters of a text; None, the default, where the data are no text.

    Returns:
        The splits: 70, 10 and 20 in a hundred.
    """
    check_columns(columns, name)
    classes = count_classes(columns)
    return Splits(name, *split_columns(columns, name), classes=classes, levels=levels, alphabet=alphabet)


def _load_arrays(file: Path, name: str) -> dict[str, NDArray[Any]]:
    try:
        with file.open("rb") as stream:  # np.load would leave a damaged file open
            content = np.load(stream, allow_pickle=False)
            return {"x": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error) or _begins_as_pickle(file):
            raise ValueError(
                f"{name}: the file holds pickled Python objects, which could run code and are not read; expected "
                "arrays of numbers: save them with numpy.savez"
            ) from error
        raise ValueError(
            f"{name}: the file is damaged or no {file.suffix} file; expected arrays of numbers: save it again"
        ) from error


def _begins_as_pickle(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(1) == b"\x80"


def _tensor(array: NDArray[Any], key: str, name: str) -> Tensor:
    kind = array.dtype.kind
    if kind not in "biuf":
        raise TypeError(f"{name}: column {key!r} has dtype {array.dtype}; expected numbers: encode it as int or float")
    if key == "x" and array.dtype == np.uint8 and array.ndim >= 3:
        return as_grey(array)
    if kind == "b" and key != "x":
        return torch.from_numpy(array)
    if kind in "iu":
        if kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name}: column {key!r} has {array.max()}, above the range of int64: rescale it")
        return torch.from_numpy(array.astype(np.int64))
    return torch.from_numpy(array.astype(np.float64 if kind == "f" and array.dtype.itemsize >= 8 else np.float32))
