"""The options of `fit`, and their validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyro.optim import PyroOptim

from pyrogen.messages import as_path

DEFAULT_EPOCHS = 20
_KINDS: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("arguments", Mapping, "a dict"),
    ("callbacks", Iterable, "a list of functions"),
    ("freeze", Iterable, "a list of names"),
    ("resume", bool, "True or False"),
    ("progress", bool, "True or False"),
    ("precision", str, "a string"),
)
"""Options whose kind is checked before they are used."""


def _shown(value: Any) -> str:
    """A value in a message; a tensor or an array by its type."""
    return f"a {type(value).__name__}" if hasattr(value, "shape") else repr(value)


@dataclass(frozen=True)
class Options:
    """The options of `fit`.

    Args:
        epochs: see `fit`, as for all of them; 20 where `steps` is None too.
        steps: see `fit`.
        batch_size: see `fit`.
        arguments: see `fit`.
        objective: see `fit`.
        optimizer: see `fit`.
        schedule: see `fit`.
        clip_norm: see `fit`.
        ema: see `fit`.
        freeze: see `fit`; one name may stand without a list.
        patience: see `fit`.
        seed: see `fit`.
        device: the device itself.
        precision: see `fit`.
        compile: see `fit`.
        out: see `fit`.
        resume: see `fit`.
        progress: see `fit`.
        callbacks: see `fit`.
    """

    epochs: int | None
    steps: int | None
    batch_size: int | None
    arguments: Mapping[str, Any]
    objective: Any
    optimizer: Callable[..., torch.optim.Optimizer] | None
    schedule: Callable[[torch.optim.Optimizer], Any] | None
    clip_norm: float | None
    ema: float | None
    freeze: Sequence[str] | str
    patience: int | None
    seed: int
    device: torch.device
    precision: str
    compile: bool | str
    out: str | Path | None
    resume: bool
    progress: bool
    callbacks: Sequence[Callable[..., Any]]

    def __post_init__(self) -> None:
        for name, kind, what in _KINDS:
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be {what}, got {_shown(getattr(self, name))}")
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        object.__setattr__(self, "freeze", tuple([self.freeze] if isinstance(self.freeze, str) else self.freeze))
        object.__setattr__(self, "arguments", dict(self.arguments))
        object.__setattr__(self, "callbacks", tuple(self.callbacks))

    def total_steps(self, steps_per_epoch: int | None) -> int | None:
        """Steps of the whole run.

        Args:
            steps_per_epoch: steps in an epoch, where known.

        Returns:
            The number of steps, or None where it is not known.
        """
        if self.steps is not None or steps_per_epoch is None:
            return self.steps
        return steps_per_epoch * (self.epochs or 0)

    def check(self, validated: bool) -> None:
        """Check the options, alone and together.

        Args:
            validated: whether there is validation data.

        Raises:
            ValueError: a value is out of range, or options exclude each other.
        """
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"pass epochs or steps, not both (got epochs={self.epochs}, steps={self.steps})")
        for name in ("epochs", "steps", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {_shown(value)}")
        self._check_types()
        if self.patience is not None and not validated:
            raise ValueError("patience needs validation data: pass validation=")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be a finite number above 0, got {self.clip_norm}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must lie between 0 and 1, such as 0.999, got {self.ema}")
        if not (isinstance(self.compile, bool) or self.compile == "auto"):
            raise ValueError(f"compile must be 'auto', True or False, got {_shown(self.compile)}")
        if self.out is not None:
            as_path(self.out, "out")
        if self.resume and self.out is None:
            raise ValueError("resume needs the folder of the run: pass out=")

    def _check_types(self) -> None:
        if isinstance(self.optimizer, PyroOptim | torch.optim.Optimizer):
            raise TypeError(
                f"optimizer is a {type(self.optimizer).__name__}, expected a callable from (name, parameter) pairs to "
                "a torch optimizer, such as pyrogen.inference.adam(1e-3)"
            )
        if isinstance(self.objective, type | str):
            raise TypeError(f"objective is {self.objective!r}, expected an instance, such as Trace_ELBO()")
        for name, kind, what in (
            ("seed", int, "a whole number"),
            ("clip_norm", (int, float, type(None)), "a number"),
            ("ema", (int, float, type(None)), "a number"),
            ("out", (str, Path, type(None)), "a path"),
        ):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be {what}, got {_shown(getattr(self, name))}")
            if isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be {what}, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be a whole number from 0 to 2^64 - 1, got {self.seed}")
        names: tuple[Any, ...] = tuple(self.freeze)
        strange = next((each for each in names if not isinstance(each, str)), None)
        if strange is not None:
            raise TypeError(f"freeze must be a list of names, got one with {_shown(strange)}")
        called = {"optimizer": self.optimizer, "schedule": self.schedule}
        called.update({f"callbacks[{i}]": callback for i, callback in enumerate(self.callbacks)})
        for name, value in called.items():
            required = name.startswith("callbacks")
            if not callable(value) and (required or value is not None):
                raise TypeError(f"{name} must be callable, got {_shown(value)}")
