"""How an input is run: in this process, or in one of its own; a call that takes too long is stopped."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.case import Case, Outcome, fingerprint, verdict
from pyrogen.cli import main

SECONDS = 60
"""After which a call counts as hanging; nearly all take less than one."""


class HungError(BaseException):
    """The time is up; no handler of errors takes it for one."""


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Raise `HungError` when the time is up."""

    def stop(*_: Any) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_here(case: Case) -> Outcome:
    """Run an input in this process."""
    out, err = io.StringIO(), io.StringIO()
    value, error, status = None, None, 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings(action="ignore"):
        try:
            with alarm():
                if callable(case.run):
                    value = case.run()
                else:
                    status = main(case.run)
        except HungError:
            return Outcome(1, hung=True)
        except BaseException as raised:
            status, error = 1, raised
    return Outcome(status, out.getvalue(), err.getvalue(), value, error)


def run_apart(case: Case) -> Outcome:
    """Run a command line in a process of its own."""
    assert not callable(case.run)
    command = [sys.executable, "-m", "pyrogen", *case.run]
    root = str(Path(__file__).parents[2])
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS, env=environ, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(1, hung=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def examine(case: Case, apart: bool) -> tuple[str, str]:
    """Run an input; its fault, and what shows it."""
    before = fingerprint(case.kept)
    outcome = run_apart(case) if apart else run_here(case)
    return verdict(case, outcome, fingerprint(case.kept) != before)
