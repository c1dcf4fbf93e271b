"""What all ways to take a step have in common: to be put back to the start, timed, and asked for losses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from svi.case import Parameters

__all__ = ["NotPossibleError", "Variant", "statistics"]


class NotPossibleError(Exception):
    """The variant does not exist for this case; the message says why."""


class Variant:
    """A way to take steps on one batch, in this process.

    Args:
        name: of the variant.
        device: where it computes.
        form: which of several ways of doing it, in words.
    """

    def __init__(self, name: str, device: torch.device, form: str = "") -> None:
        self.name, self.device, self.form = name, device, form
        self.versions: dict[str, str] = {}

    def step(self) -> Any:
        """Take a step; the loss of the batch before it, undivided."""
        raise NotImplementedError

    def parameters(self) -> Parameters:
        """The parameters by name, live."""
        raise NotImplementedError

    def start(self) -> Parameters:
        """The values, by name, that the parameters start from."""
        raise NotImplementedError

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """What must surround steps."""
        yield

    def run(self, steps: int) -> None:
        """Take steps."""
        step = self.step
        for _ in range(steps):
            step()

    def seconds(self, steps: int) -> float:
        """How long so many steps take; one step goes before, untimed, so that all start with their own data cached."""
        with self.around():
            self.step()
            self.wait()
            began = time.perf_counter()
            self.run(steps)
            self.wait()
            return time.perf_counter() - began

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def losses(self, draws: int) -> tuple[float, float]:
        """The mean over many steps' losses, each taken from the start, and its Monte Carlo error."""
        values = []
        with self.around():
            for _ in range(draws):
                self.put_back()
                values.append(float(self.step()))
            self.put_back()
        return statistics(values)

    def unmoved(self) -> list[str]:
        """The parameters that three steps from the start leave where they were, or that are no numbers then."""
        with self.around():
            self.put_back()
            before = {name: p.detach().clone() for name, p in self.parameters().items()}
            self.run(3)
            after = {name: p.detach().clone() for name, p in self.parameters().items()}
        moved = {n for n, p in after.items() if bool(torch.isfinite(p).all()) and not torch.equal(p, before[n])}
        return sorted(set(before) - moved)

    def count(self) -> int:
        """How many numbers are trained."""
        with self.around():
            return sum(p.numel() for p in self.parameters().values())

    def put_back(self) -> None:
        """Set the parameters to where every variant starts."""
        start = self.start()
        with torch.no_grad():
            for name, p in self.parameters().items():
                p.copy_(start[name])

    def close(self) -> None:
        """Nothing more is asked."""


def statistics(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    drawn: Tensor = torch.tensor(values, dtype=torch.float64)
    return float(drawn.mean()), float(drawn.std() / len(values) ** 0.5)
