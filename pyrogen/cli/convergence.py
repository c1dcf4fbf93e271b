"""Whether a run has converged, has hardly begun, or has diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyrogen.inference.program.nonfinite import advise_scale

_FEWEST_RECORDS = 4
"""Epochs from which a trend can be seen."""
_LARGE = 10.0
"""Standard deviations above this are far from the unit scale that learning rates are made for."""
_HIGH_RATE = 0.05
_LARGEST_LOSS = 1e4
"""Losses of a generator or a critic above this are of networks that have diverged."""

History = Sequence[Mapping[str, Any]]


def describe_convergence(history: History, best_epoch: int | None, columns: Mapping[str, Tensor]) -> str | None:
    """What shows that a run has not converged, and what to do.

    Args:
        history: its records.
        best_epoch: the epoch whose weights are kept; None where they are the last.
        columns: training data (N, ...) by name.

    Returns:
        One line; None where nothing shows it, as in fewer than 4 epochs, or the run took no steps.
    """
    elbo = np.array([record["train_elbo"] for record in history if "train_elbo" in record])
    if not len(elbo) or not np.isfinite(elbo).all():
        return None
    if large := _beyond_reach(history, columns):
        return f"not converged: {large}"
    if len(elbo) < _FEWEST_RECORDS:
        return None
    if best_epoch is not None and best_epoch < 0.9 * len(history):
        return None  # more training does not help on validation data
    y = elbo[len(elbo) // 2 :]
    t = np.linspace(-0.5, 0.5, len(y))  # so that the slope is the rise
    rise = float(t @ y / (t @ t))
    residuals = y - y.mean() - rise * t
    error = math.sqrt(float(residuals @ residuals) / max(1, len(y) - 2) / float(t @ t))
    if rise < 0.05 or rise < 4 * error:
        return None
    return (
        f"not converged: the training ELBO still rose by {rise:.3g} nats over the last {len(y)} epochs: train longer, "
        f"such as --epochs {2 * len(history)} with --resume"
    )


def _beyond_reach(history: History, columns: Mapping[str, Tensor]) -> str | None:
    """Whether data are spread more widely than Adam can have moved a parameter: its steps are at most the rate."""
    ends = [0, *(record["step"] for record in history)]
    rates = [record.get("lr", math.inf) for record in history]
    if not all(isinstance(rate, float) for rate in rates):
        return None
    reach = sum(rate * (b - a) for rate, a, b in zip(rates, ends, ends[1:], strict=False))
    for name, column in columns.items():
        if not column.is_floating_point() or len(column) < 2:
            continue
        spread = float(column.flatten(1).std(0).max()) if column.dim() > 1 else float(column.std())
        if spread > max(_LARGE, 10 * reach):
            return (
                f"column '{name}' has standard deviations up to {spread:.3g}, and {ends[-1]} steps move a parameter by "
                f"{reach:.2g} at most: standardize it, (x - x.mean(0)) / x.std(0), or raise --lr or --epochs"
            )
    return None


def check_divergence(history: History, columns: Mapping[str, Tensor], begin: Callable[[], float]) -> None:
    """Refuse to call a run a success that ended far worse than it began.

    Args:
        history: its records.
        columns: training data (N, ...) by name.
        begin: computes the ELBO of the first step; called only where the rate is high, the data are large, or the ELBO
            fell.

    Raises:
        ValueError: the run has diverged.
    """
    last = history[-1] if history else {}
    lr = last.get("lr", 1.0)
    remedy = f"lower the rate, such as --lr {min(lr / 10, 1e-3):g}, pass --clip-norm 1, and take another --out"
    for name in ("critic_loss", "generator_loss"):
        if abs(last.get(name, 0.0)) > _LARGEST_LOSS:
            raise ValueError(f"the run has diverged: {name} is {last[name]:.3g} at the end: {remedy}")
    if "train_elbo" not in last:
        return
    end = last["train_elbo"]
    large = any(c.is_floating_point() and float(c.abs().max()) > _LARGE for c in columns.values())
    if not (lr > _HIGH_RATE or large or end < history[0]["train_elbo"]):
        return
    first = begin()
    if end < first - abs(first) - 1:
        raise ValueError(
            f"the run has diverged: the training ELBO began at {first:.4g} nats per datum and ended at {end:.4g}: "
            f"{advise_scale(columns)}{remedy}"
        )
