"""Child processes that end with the test that started them."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["running"]


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process that takes an interrupt as one of a terminal does, and is killed when the block is left.

    A process inherits an ignored SIGINT, which a suite under `nohup` or in the background has: so it is not ignored
    here while the process starts.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    finally:
        signal.signal(signal.SIGINT, former)
    with process:
        try:
            yield process
        finally:
            process.kill()
