"""One process at a time writes to a run directory."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyrogen.messages import writing

_NAME = ".lock"
_TEMPORARY = re.compile(r"\.(config\.json|(weights|resume)\.safetensors|history\.jsonl)\.\d+")
"""Names that `write_whole` gives to what it writes."""
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_HELD: dict[tuple[int, int], int] = {}
"""The process that locked a directory, by the directory's device and inode; a forked child inherits the entry."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a directory, which is made if need be, for this process alone; files that a killed process left are removed.

    The system ends the lock with the process, however it ends. A forked child does not hold it, nor does it end it. A
    directory that was made here and is still empty at the end is removed again.

    Args:
        folder: the directory.

    Yields:
        None.

    Raises:
        ValueError: the path is a file, or another process, or another fit of this one, holds the directory.
        OSError: the directory cannot be made or written to.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, expected a folder to write the run to")
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        descriptor = _acquire(folder)
    owner, key = os.getpid(), _identity(folder)
    _HELD[key] = owner
    try:
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield
    finally:
        if os.getpid() == owner:
            del _HELD[key]
            (folder / _NAME).unlink(missing_ok=True)
            os.close(descriptor)
            for each in made:
                with suppress(OSError):
                    each.rmdir()


def _acquire(folder: Path) -> int:
    """A descriptor of the lock file, which holds the lock while it is open."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if _HELD.get(_identity(folder)) == os.getpid():  # locks of one process do not exclude each other
            raise ValueError(f"another fit of this process writes to {folder}: choose another folder")
        try:
            descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # who held the directory has just removed it
            continue
        try:
            _lock(descriptor, folder)
            with suppress(FileNotFoundError):
                if os.stat(folder / _NAME).st_ino == os.fstat(descriptor).st_ino:
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()}\n".encode())
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the file was removed by who held it before: lock the one that there is now


def _lock(descriptor: int, folder: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:  # a file system without locks
            return
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        process = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        raise ValueError(
            f"another process{f' ({process})' if process else ''} is writing to {folder}: wait until it has ended, or "
            "choose another folder"
        ) from None


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
