"""Schedules of the learning rate, as `fit` takes them, besides those of `torch.optim.lr_scheduler`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LambdaLR

Schedule = Callable[[torch.optim.Optimizer], LambdaLR]


@dataclass
class _Factor:
    """The factor of the learning rate at a step: a linear rise over `warmup` steps, then half a cosine to `floor`.

    A checkpoint holds the names of the fields.
    """

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
    r"""Half a cosine from the full learning rate to `floor` times it (Loshchilov and Hutter 2017, arXiv:1608.03983).

    $$ \text{floor} + \tfrac12 (1 - \text{floor}) \left(1 + \cos \pi
    \frac{t - \text{warmup}}{\text{steps} - \text{warmup}}\right) $$

    Args:
        steps: number of steps of the whole run.
        warmup: steps of a linear rise before, 0 by default.
        floor: the last learning rate as a fraction of the full one, 0 by default.

    Returns:
        A function from the optimizer to its scheduler.

    Raises:
        ValueError: `warmup` is negative, or not less than `steps`.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"cosine needs 0 <= warmup < steps, got warmup={warmup}, steps={steps}")
    return functools.partial(LambdaLR, lr_lambda=_Factor(steps, warmup, floor))


def constant_with_warmup(warmup: int) -> Schedule:
    """The full learning rate after a linear rise.

    Args:
        warmup: steps of the rise.

    Returns:
        A function from the optimizer to its scheduler.

    Raises:
        ValueError: `warmup` is less than 1.
    """
    if warmup < 1:
        raise ValueError(f"warmup must be at least 1 step, got {warmup}")
    return functools.partial(LambdaLR, lr_lambda=_Factor(None, warmup, 1.0))
