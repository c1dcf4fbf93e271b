"""The C library's heap on the CPU: freed memory is kept between steps instead of returned and requested in each step.

The system clears every page that it hands out. On an AMD EPYC a compiled step of a PixelCNN of 28 by 28
pixels takes 1.7 times as long without this, those of other convolutional networks 1.2 to 1.4 times
(`benchmarks/kept_memory.py`).
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
_LARGEST_BLOCK = 32 * 2**20
"""Bytes of the largest block that the heap may hold; larger ones are mapped by themselves (glibc's maximum)."""
_KEPT = 2**31 - 1
"""Free bytes at the heap's end that are kept: the largest C int."""
_USES = 0
_LOCK = threading.Lock()


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process; it is returned to the system when the last of nested or parallel uses ends.

    Does nothing where the C library is not glibc, or where glibc's environment variables configure its heap.

    Yields:
        None.
    """
    thresholds = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] != "glibc" or tuned or any(name in os.environ for name in thresholds):
        yield
        return
    _count_uses(1)
    try:
        yield
    finally:
        _count_uses(-1)


def _count_uses(change: int) -> None:
    global _USES
    library = ctypes.CDLL(None)
    with _LOCK:
        _USES += change
        if _USES == change == 1:
            library.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
            library.mallopt(_TRIM_THRESHOLD, _KEPT)
        elif _USES == 0:
            # The former values cannot be read. glibc's own rule arrives at this one once a largest block was freed.
            library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)
            library.malloc_trim(0)
