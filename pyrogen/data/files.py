"""Checks of a file before it is read: it is a regular one, and holds no more than it says and the memory can take."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

_KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_MAX_DEFLATION = 1032
"""Largest factor by which deflate, the compression of `.npz` files, can shrink bytes."""


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of a stored array says.

    Args:
        key: name of the array in a `.npz` file; "x" in a `.npy` file.
        shape: its shape.
        dtype: its type.
        present: bytes that follow the header in the file.
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    present: int

    @property
    def declared(self) -> int:
        """Bytes that an array of this shape and type takes."""
        return prod(self.shape) * self.dtype.itemsize


def check_regular(file: Path, name: str) -> None:
    """Refuse what is no regular file: a FIFO, say, would wait for a writer for ever.

    Args:
        file: the path; links are followed.
        name: what messages call the data.

    Raises:
        ValueError: it is a FIFO, a socket, a device, a folder, or a link to nothing.
    """
    if file.is_file():
        return
    kind = _KINDS.get(stat.S_IFMT(file.stat().st_mode), "no file") if file.exists() else "a link to nothing"
    raise ValueError(f"{name}: {file} is {kind}; expected a regular file: save the data to one")


def check_memory(size: int, name: str, what: str) -> None:
    """Refuse what does not fit in memory, before memory is asked for.

    Args:
        size: bytes that are needed.
        name: what messages call the data.
        what: what needs them, such as "column 'x' of shape (9, 2)".

    Raises:
        ValueError: the machine, or the process's control group, has less memory.
    """
    memory = _memory()
    if memory is not None and size > memory:
        raise ValueError(
            f"{name}: {what} takes {size / 2**30:,.1f} GiB, and there are {memory / 2**30:,.1f} GiB of memory; "
            "expected data that fit: save fewer or smaller ones"
        )


def _memory() -> int | None:
    """Bytes of memory that this process may have; None where the system does not say."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return None
    with suppress(OSError, ValueError):  # no control groups, or "max"
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)


def read_headers(file: Path) -> Iterator[ArrayHeader]:
    """Read the headers of a `.npy` or `.npz` file, and none of the numbers; damage raises errors of many types.

    Args:
        file: the file.

    Yields:
        The header of each array.

    Raises:
        ValueError: an entry of a `.npz` file is no array, or claims more bytes than its compressed ones can give.
    """
    with file.open("rb") as stream:
        if stream.read(2) != b"PK":
            stream.seek(0)
            yield _header(stream, "x", file.stat().st_size)
            return
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy") or entry.file_size > _MAX_DEFLATION * (entry.compress_size + 1):
                    raise ValueError(f"entry {entry.filename!r} is no array")
                with archive.open(entry) as content:
                    yield _header(content, entry.filename.removesuffix(".npy"), entry.file_size)


def _header(stream: IO[bytes], key: str, size: int) -> ArrayHeader:
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format {version} is of arrays with named fields")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    return ArrayHeader(key, shape, dtype, size - stream.tell())
