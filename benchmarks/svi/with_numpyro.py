"""NumPyro's steps, asked of a process of its own, so that its bursts stand between those of the others."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svi.case import RATE, Case, Parameters
from svi.variant import NotPossibleError, Variant

__all__ = ["NumPyro", "interpreter"]


def interpreter(named: str | None) -> str | None:
    """The Python that has NumPyro: the one that is named, else this one if it has; None where there is none."""
    return named or (sys.executable if importlib.util.find_spec("numpyro") else None)


class Process:
    """NumPyro at work.

    Args:
        python: the interpreter that has it.
        name: of the case.
        case: what is stepped.
        start: the values that parameters start from.
        threads: of XLA.
    """

    def __init__(self, python: str, name: str, case: Case, start: Parameters, threads: int) -> None:
        held = {f"column {n}": c.numpy() for n, c in case.data().items()}
        held |= {f"start {n}": p.numpy() for n, p in start.items()}
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder, "start.npz"), **held)
            script = Path(__file__).with_name("numpyro_process.py")
            command = [python, str(script), name, str(Path(folder, "start.npz")), str(RATE), str(threads)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.about: Any = self.ask("about")

    def ask(self, name: str, *arguments: Any) -> Any:
        """One answer.

        Raises:
            NotPossibleError: the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise NotPossibleError("NumPyro's process ended; what it said is above")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.communicate()


class NumPyro(Variant):
    """`svi.update` under `jax.jit`, or many of them in one `lax.scan`.

    Args:
        process: what does it.
        form: "jitted" or "scanned".
    """

    def __init__(self, process: Process, form: str) -> None:
        super().__init__("numpyro", torch.device("cpu"), form)
        self.versions = process.about["versions"]
        self.process, self.chunk = process, process.about["chunk"] if form == "scanned" else 1

    @classmethod
    def forms(cls, *arguments: Any) -> list[Variant]:
        """Both; the fastest is what counts."""
        process = Process(*arguments)
        return [cls(process, form) for form in ("jitted", "scanned")]

    def seconds(self, steps: int) -> float:
        """How long so many steps take; scanned ones come by the chunk."""
        times = max(1, round(steps / self.chunk))
        return float(self.process.ask("seconds", self.form, times)) * steps / (times * self.chunk)

    def losses(self, draws: int) -> tuple[float, float]:
        """As for all."""
        mean, error = self.process.ask("losses", draws)
        return mean, error

    def unmoved(self) -> list[str]:
        """As for all."""
        return list(self.process.ask("unmoved"))

    def count(self) -> int:
        """As for all."""
        return int(self.process.about["count"])

    def close(self) -> None:
        """End the process."""
        self.process.close()
