"""Schedules of the learning rate, as `fit` takes them; any of `torch.optim.lr_scheduler` serves as well."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["constant_with_warmup", "cosine"]

Schedule = Callable[[torch.optim.Optimizer], LambdaLR]


@dataclass
class _Factor:
    """The rate's factor at a step: a linear rise over `warmup` steps, then half a cosine to `floor`."""

    steps: int | None
    warmup: int
    floor: float

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.steps is None:
            return 1.0
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


def cosine(steps: int, warmup: int = 0, floor: float = 0.0) -> Schedule:
    """Half a cosine from the full rate to `floor` times it (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        steps: of the whole run.
        warmup: steps of a linear rise before.
        floor: the last rate as a part of the full one.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"cosine needs 0 <= warmup < steps, got warmup={warmup}, steps={steps}")
    return functools.partial(LambdaLR, lr_lambda=_Factor(steps, warmup, floor))


def constant_with_warmup(warmup: int) -> Schedule:
    """The full rate after a linear rise over `warmup` steps."""
    if warmup < 1:
        raise ValueError(f"warmup must be at least 1 step, got {warmup}")
    return functools.partial(LambdaLR, lr_lambda=_Factor(None, warmup, 1.0))
