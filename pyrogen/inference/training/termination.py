"""SIGTERM and SIGHUP, which clusters send before they kill: a run writes a checkpoint, says how to go on, and ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.messages import RESUME_COMMAND, Terminated, printable

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class DeferredSignals:
    """Signals that wait until the run can be left; a second one ends the process at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._process = os.getpid()

    def __call__(self, number: int, _: Any) -> None:
        """Handle a signal.

        Args:
            number: of the signal.
        """
        if self.received is not None or os.getpid() != self._process:  # a forked child ends as it would have ended
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)

    def end_run(self, directory: RunDirectory | None, step: int) -> None:
        """End the run by the signal that has come.

        Args:
            directory: where the run is kept.
            step: number of steps taken.

        Raises:
            Terminated: says so.
        """
        assert self.received is not None and directory is not None
        path = directory.path
        kept = f"the checkpoint is in {path}" if directory.can_resume else f"no checkpoint is in {path} yet"
        command = RESUME_COMMAND.get() or f"fit(..., out={str(path)!r}, resume=True)"
        raise Terminated(self.received, f"stopped after step {step:,}; {kept}; to resume: {command}")


@contextmanager
def deferred_signals() -> Iterator[DeferredSignals]:
    """Let SIGTERM and SIGHUP wait, unless the program handles or ignores them itself, and say how the run ended.

    Yields:
        What holds the signal that has come; that of an outer fit within a nested one.

    Raises:
        Terminated: one came after the last moment at which the run looked for it.
    """
    former = {number: signal.getsignal(number) for number in SIGNALS}
    outer = next((handler for handler in former.values() if isinstance(handler, DeferredSignals)), None)
    if outer is not None:
        yield outer
        return
    deferred = DeferredSignals()
    caught = [number for number in SIGNALS if former[number] is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, deferred)
    try:
        yield deferred
        if deferred.received is not None:
            raise Terminated(deferred.received, "the run is finished")
    except Terminated as terminated:
        sys.stderr.write(printable(f"pyrogen: {terminated.message}\n"))
        sys.stderr.flush()
        raise
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
