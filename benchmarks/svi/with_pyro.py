"""Steps by stock Pyro, and by pyrogen as `fit` drives them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pyro
import torch
from pyro.infer import SVI

from pyrogen.inference.compile.dispatch import TRACE_ONLY
from pyrogen.inference.optim.optimizer import Optimization, adam
from pyrogen.inference.program.program import Program
from pyrogen.inference.svi.svi_step import SVIStep
from pyrogen.inference.training.loop import MAX_STEPS_PER_CALL
from pyrogen.story import Batch, Store, as_story
from svi.case import RATE, Case, Parameters
from svi.variant import NotPossibleError, Variant

__all__ = ["Pyro", "Pyrogen"]

TIERS: dict[str, bool | str] = {"eager": False, "traced": TRACE_ONLY, "compiled": True}


class Pyro(Variant):
    """`pyro.infer.SVI.step` with `pyro.optim.Adam`, in a parameter store of its own."""

    def __init__(self, name: str, case: Case, start: Parameters, device: torch.device, validate: bool) -> None:
        super().__init__(name, device)
        self.validate, self._start, self.store = validate, start, Store()
        self.columns = tuple(column.to(device) for column in case.data().values())
        with self.around():
            self.svi = SVI(*case.fresh(), pyro.optim.Adam({"lr": RATE}), case.objective())
            self.step()

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """The store, validation as wanted, new tensors on the device."""
        with self.store.activated(), pyro.validation_enabled(self.validate), default_device(self.device):
            yield

    def step(self) -> float:
        """Take a step."""
        return self.svi.step(*self.columns)

    def parameters(self) -> Parameters:
        """As Pyro's store has them."""
        return dict(Store.current().params)

    def start(self) -> Parameters:
        """The program's own values."""
        return self._start


class Pyrogen(Variant):
    """pyrogen's own step, set up as `fit` does; the first is eager in all modes.

    Args:
        name: "pyrogen_eager", "pyrogen_traced" or "pyrogen_compiled": the mode that must be reached.
        case: what is stepped.
        start: the values that parameters start from.
        device: where.
    """

    def __init__(self, name: str, case: Case, start: Parameters, device: torch.device) -> None:
        super().__init__(name, device)
        mode = name.removeprefix("pyrogen_")
        self._start = start
        columns: Any = {column: values.to(device) for column, values in case.data().items()}
        rows = len(next(iter(columns.values())))
        self.batch = Batch(columns, rows, rows, torch.arange(rows, device=device))
        self.story = as_story(case.fresh())
        self.story.to(device)
        optimization = Optimization(adam(RATE), None, None, None)
        self._step = SVIStep(Program(self.story), case.objective(), optimization, compile=TIERS[mode])
        try:
            with self.around():
                self.run(2)
        except (ValueError, RuntimeError) as error:
            raise NotPossibleError(str(error)) from error
        if self._step.compiler.mode != mode:
            raise NotPossibleError(f"steps are {self._step.compiler.mode}, not {mode}")
        self.divisor = self._step.divisor(self.batch)

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """The story's store, validation off, new tensors on the device."""
        with (
            self.story.param_store_scope(),
            pyro.validation_enabled(False),
            default_device(self.device),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield

    def step(self) -> float:
        """Take a step."""
        return self._step(self.batch)

    def run(self, steps: int) -> None:
        """Take steps; as the training loop does on whole data, several at a time where a step is one compiled call."""
        left = steps
        while left:
            taken = len(self._step.run_steps(self.batch, min(MAX_STEPS_PER_CALL, left)))
            if not taken:
                self.step()
            left -= taken or 1

    def losses(self, draws: int) -> tuple[float, float]:
        """As for all; a step tells nats per datum."""
        mean, error = super().losses(draws)
        return mean * self.divisor, error * self.divisor

    def parameters(self) -> Parameters:
        """The story's."""
        return self.story.trainable()

    def start(self) -> Parameters:
        """The program's own values."""
        return self._start

    def close(self) -> None:
        """Give parameters their own storage again."""
        self._step.compiler.close()


def default_device(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """New tensors on the device; on the CPU nothing, which costs nothing."""
    return contextlib.nullcontext() if device.type == "cpu" else torch.device(device)
