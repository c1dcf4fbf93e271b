"""A user's own arrays: .npz and .npy files, read without pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrogen.data.columns import check_columns
from pyrogen.data.files import ArrayHeader, check_memory, read_headers
from pyrogen.data.images import as_grey
from pyrogen.data.partition import count_classes, split_columns
from pyrogen.data.splits import Splits

_CHANNELS = (1, 3)


def read_numpy(file: Path, name: str) -> Splits:
    """Read a `.npz` file (a column for each key) or a `.npy` file (column `x`), split 70/10/20.

    An `x` of bytes with at least three dimensions holds images: it becomes value / 255 with 256 grey levels, and so
    does an `x` (N, ., ., .) of other integers from 0 to 255. Images with their channels last, (N, H, W, 1 or 3), become
    (N, 1 or 3, H, W). Other integers become int64, floating numbers float32 (float64 stays), a boolean `x` float32.
    Pickled, damaged or non-numeric content, integers above 255 in the shape of images, more than the memory holds, and
    columns that `check_columns` refuses, are refused with a ValueError or TypeError.

    Args:
        file: the file.
        name: what messages and reports call the data.

    Returns:
        The splits; their notes say what was taken for images, or not.
    """
    arrays = _load_arrays(file, name)
    notes: list[str] = []
    if "x" in arrays and arrays["x"].dtype.kind in "biuf":
        arrays["x"] = _as_images(arrays["x"], name, notes)
    images = "x" in arrays and arrays["x"].dtype == np.uint8 and arrays["x"].ndim >= 3
    columns = {key: _tensor(array, key, name) for key, array in arrays.items()}
    return file_splits(columns, name, levels=256 if images else None, notes=notes)


def file_splits(
    columns: dict[str, Tensor],
    name: str,
    levels: int | None = None,
    alphabet: str | None = None,
    notes: Sequence[str] = (),
) -> Splits:
    """Check columns and put them in three splits, stratified on integer `y`.

    Args:
        columns: tensors (N, ...) by name.
        name: what messages and reports call the data.
        levels: number of grey levels of `x`; None, the default, where it holds none.
        alphabet: the characters of a text; None, the default, where the data are no text.
        notes: how the file was understood, a line each; none by default.

    Returns:
        The splits: 70, 10 and 20 in a hundred.
    """
    check_columns(columns, name)
    parts = split_columns(columns, name)
    return Splits(name, *parts, classes=count_classes(columns), levels=levels, alphabet=alphabet, notes=tuple(notes))


def _load_arrays(file: Path, name: str) -> dict[str, NDArray[Any]]:
    try:
        headers = list(read_headers(file))
    except Exception as error:  # damage raises whatever it meets
        raise _unreadable(file, name) from error
    for header in headers:
        _check_header(header, file, name)
    check_memory(sum(header.declared for header in headers), name, f"the content of {file.name}")
    try:
        with file.open("rb") as stream:  # np.load would leave a damaged file open
            content = np.load(stream, allow_pickle=False)
            return {"x": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content.files}
    except Exception as error:
        raise _unreadable(file, name) from error


def _check_header(header: ArrayHeader, file: Path, name: str) -> None:
    """Refuse a type that is not numeric, and a header that does not fit the bytes behind it."""
    if header.dtype.hasobject:
        raise _pickled(name)
    if header.dtype.kind not in "biuf":
        raise TypeError(
            f"{name}: column {header.key!r} has dtype {header.dtype}; expected numbers: encode it as int or float"
        )
    if header.declared != header.present:
        raise ValueError(
            f"{name}: the file is damaged or no {file.suffix} file: the header of {header.key!r} says {header.shape} "
            f"of {header.dtype}, {header.declared:,} bytes, and {header.present:,} follow it: save it again, one array "
            "in each file or key"
        )


def _unreadable(file: Path, name: str) -> ValueError:
    """What is wrong with a file that cannot be read."""
    with file.open("rb") as content:
        if content.read(1) == b"\x80":
            return _pickled(name)
    return ValueError(
        f"{name}: the file is damaged or no {file.suffix} file; expected arrays of numbers: save it again"
    )


def _pickled(name: str) -> ValueError:
    return ValueError(
        f"{name}: the file holds pickled Python objects, which could run code and are not read; expected arrays of "
        "numbers: save them with numpy.savez"
    )


def _as_images(x: NDArray[Any], name: str, notes: list[str]) -> NDArray[Any]:
    """`x` with the channels of images before their rows, and their whole numbers from 0 to 255 as bytes."""
    shape = x.shape
    if x.ndim == 4 and shape[3] in _CHANNELS and shape[1] not in _CHANNELS:
        x = np.ascontiguousarray(np.moveaxis(x, 3, 1))
        notes.append(f"column 'x' {shape} is taken for images with their channels last, and becomes {x.shape}")
    whole = x.dtype.kind in "iu" and x.dtype != np.uint8 and x.size > 0
    if not whole or x.ndim < 3:
        return x
    low, high = int(x.min()), int(x.max())
    if x.ndim != 4 and x.dtype != np.uint16:
        notes.append(
            f"column 'x' {shape} of {x.dtype} holds whole numbers from {low} to {high}, and is not taken for images: "
            "save images as uint8"
        )
        return x
    if low < 0 or high > 255:
        scale = 65535 if x.dtype == np.uint16 else high
        raise ValueError(
            f"{name}: column 'x' {shape} of {x.dtype} holds whole numbers from {low} to {high} in the shape of images; "
            f"expected bytes from 0 to 255, or floats in [0, 1]: save (x / {scale}).astype('float32')"
        )
    if high <= 1:
        return x.astype(np.float32)
    notes.append(f"column 'x' of {x.dtype} holds whole numbers from {low} to {high}: taken for 256 grey levels")
    return x.astype(np.uint8)


def _tensor(array: NDArray[Any], key: str, name: str) -> Tensor:
    kind = array.dtype.kind
    if key == "x" and array.dtype == np.uint8 and array.ndim >= 3:
        return as_grey(array)
    if kind == "b" and key != "x":
        return torch.from_numpy(array)
    if kind in "iu":
        if kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name}: column {key!r} has {array.max()}, above the range of int64: rescale it")
        return torch.from_numpy(array.astype(np.int64))
    return torch.from_numpy(array.astype(np.float64 if kind == "f" and array.dtype.itemsize >= 8 else np.float32))
