"""The trend of the ELBO at the end of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.inference import Fit

_MIN_RECORDS = 20
"""Records from which the noise around a line can be estimated."""


@dataclass(frozen=True)
class Trend:
    """The trend of the ELBO over the last part of a run.

    Args:
        change: the rise of the fitted line from its first record to its last, in nats per datum.
        noise: standard deviation of the records around the line, in nats per datum.
        records: number of records.
    """

    change: Estimate
    noise: float
    records: int

    @property
    def z(self) -> float:
        """The change over its error, about a standard normal variable where there is no trend."""
        change, error = self.change
        return change / error if error > 0 else math.copysign(math.inf, change) if change else 0.0

    def __str__(self) -> str:
        return f"{self.change} nats per datum over the last {self.records} records, {self.z:.1f} standard errors"


def elbo_trend(history: Fit | Sequence[Mapping[str, Any]], name: str = "train_elbo", *, window: float = 0.5) -> Trend:
    """Whether the ELBO still rises, or falls, in the last part of a run.

    A line is fitted to the records of the window by least squares. They are no independent draws: the error counts as
    many as their autocorrelation leaves effective (`arviz_stats.ess`).

    Args:
        history: a `Fit`, or its records.
        name: key of the records, "train_elbo" by default or "validation_elbo".
        window: share of the records, from the end, that the line is fitted to; 0.5 by default.

    Returns:
        The trend.

    Raises:
        ValueError: `window` is not in (0, 1], or fewer than 20 records in it have a finite value.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=400)
        >>> print(elbo_trend([{"train_elbo": 0.01 * t + e} for t, e in enumerate(noise)]))
        2.08 ± 0.25 nats per datum over the last 200 records, 8.3 standard errors

    References:
        Dhaka, Catalina, Andersen, Magnusson, Huggins, Vehtari 2020, arXiv:2009.00666.
    """
    from arviz_stats.base.array import array_stats

    if not 0 < window <= 1:
        raise ValueError(f"window must be above 0 and at most 1, got {window}")
    records = history.history if isinstance(history, Fit) else history
    values = np.array([r[name] for r in records if r.get(name) is not None], dtype=np.float64)
    y: Array = values[len(values) - math.ceil(window * len(values)) :]
    if len(y) < _MIN_RECORDS or not np.isfinite(y).all():
        raise ValueError(
            f"history: expected at least {_MIN_RECORDS} finite records of '{name}' in the window, got {len(y)}"
        )
    t = np.linspace(-0.5, 0.5, len(y))  # so that the slope is the change
    slope = float(t @ y / (t @ t))
    residuals = y - y.mean() - slope * t
    variance = float(residuals @ residuals) / (len(y) - 2)
    effective = len(y) if variance == 0 else min(len(y), float(array_stats.ess(residuals[None], method="mean")))
    error = math.sqrt(variance / float(t @ t) * len(y) / effective)
    return Trend(Estimate(slope, error), math.sqrt(variance), len(y))
