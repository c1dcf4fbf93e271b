"""Data sets, and statistics of which the data's is compared with those of replications."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Literal

import numpy as np

from pyrogen.diagnostics.core.estimates import Array

Kind = Literal["real", "count", "binary"]

_TAIL = 0.2
"""Share of replications that are the tail of extreme values."""


class DataSets:
    """The data, which are the first set, and replicated data sets.

    Args:
        observed: (N, ...) the data.
        replicated: (S, N, ...) replicated data sets.
        kind: "real", "count" or "binary".

    Attributes:
        values: (1 + S, N, D).
        mean: (N, D), over all sets.
        residuals: (1 + S, N, D), (values - mean) / standard deviation over all sets.
    """

    def __init__(self, observed: Array, replicated: Array, kind: Kind) -> None:
        n = len(observed)
        y = np.asarray(observed, dtype=np.float64).reshape(1, n, -1)
        draws = np.asarray(replicated, dtype=np.float64).reshape(len(replicated), n, -1)
        self.kind, self.values = kind, np.concatenate([y, draws])
        # Over the data too: under a right model all sets are then alike, also where one value decides on the deviation.
        self.mean, sd = self.values.mean(0), self.values.std(0)
        self.residuals = (self.values - self.mean) / np.where(sd > 1e-9 * (1 + np.abs(self.mean)), sd, 1.0)

    @property
    def has_covariates(self) -> bool:
        """Whether the fitted value of rows differs by more than the Monte Carlo error of its mean."""
        error = self.values[1:].std(0) / math.sqrt(len(self.values) - 1)
        return bool(self.mean.mean(1).std() > 2 * math.sqrt(float((error**2).mean())))

    @cached_property
    def bounded(self) -> Array:
        """Residuals (1 + S, N, D) within 3 robust standard deviations of the set's median, where data are real.

        A few outliers do not decide on correlations then, nor on the skewness.
        """
        if self.kind != "real":
            return self.residuals
        middle, scale = robust_scale(self.residuals.reshape(len(self.values), -1))
        limit = 3 * scale[..., None]
        return np.clip(self.residuals, middle[..., None] - limit, middle[..., None] + limit)

    @cached_property
    def of_rows(self) -> Array:
        """The mean residual of each row, (1 + S, N)."""
        return np.asarray(self.residuals.mean(2))

    @cached_property
    def rates_of_positive(self) -> Array:
        """Poisson rates fitted to the positive counts of each set alone, (1 + S, N, D)."""
        return _rates_of_positive(self.values, self.mean)


@dataclass(frozen=True)
class Statistic:
    """A number for each data set.

    Args:
        name: such as `skewness` or `trend along x`.
        of: from data sets to their numbers (1 + S,).
        message: what a large value says, with `{observed}` and `{expected}`.
        below: what a small value says; "" where `message` says it too, the default.
        power: of the numbers, after which they are about normal over replications: 0 for the logarithm; 1 by default.
        only_large: whether only large values are bad; False by default.
        least_spread: the smallest standard deviation that is believed of replications, where nearly all are the same.
        extreme: whether the numbers are extreme values, whose upper tail is longer than a normal one; False by default.
        shown: the numbers for the message; None, the default: the same.
    """

    name: str
    of: Callable[[DataSets], Array]
    message: str
    below: str = ""
    power: float = 1.0
    only_large: bool = False
    least_spread: float = 0.0
    extreme: bool = False
    shown: Callable[[DataSets], Array] | None = None

    def compare(self, sets: DataSets) -> tuple[float, float, float, str]:
        """Hold the data's number against those of the replications.

        Args:
            sets: the data and the replications.

        Returns:
            The observed and the expected number, the distance in standard deviations, and the message.
        """
        values = np.asarray(self.of(sets), dtype=np.float64)
        score = standard_score(values, self.power, self.least_spread, self.extreme)
        shown = values if self.shown is None else self.shown(sets)
        observed, expected = float(shown[0]), float(shown[1:].mean())
        text = self.below if score < 0 and self.below else self.message
        score = max(score, 0.0) if self.only_large else score
        return observed, expected, float(score), text.format(observed=observed, expected=expected)


def standard_score(values: Array, power: float = 1.0, least_spread: float = 0.0, extreme: bool = False) -> float:
    """The distance of the first of some values from the others, in standard deviations of these.

    Args:
        values: (1 + S,).
        power: as of `Statistic`; 1 by default.
        least_spread: as of `Statistic`; 0 by default.
        extreme: as of `Statistic`; False by default.

    Returns:
        The distance; 99 at most where the others are all the same.
    """
    positive = np.maximum(values, 1e-12)
    scaled = values if power == 1 else np.log(positive) if power == 0 else positive**power
    center, spread = float(scaled[1:].mean()), max(float(scaled[1:].std(ddof=1)), least_spread)
    distance, tiny = float(scaled[0]) - center, 1e-9 * (1 + abs(center))
    same = 0.0 if abs(distance) <= tiny else math.copysign(99.0, distance)
    score = distance / spread if spread > tiny else same
    return min(score, _tail_score(scaled)) if extreme else score


def _tail_score(values: Array) -> float:
    """The first of some values among the others as a normal quantile, if those have an exponential upper tail."""
    start = np.quantile(values[1:], 1 - _TAIL)
    rate = np.mean(values[1:][values[1:] > start] - start) if (values[1:] > start).any() else 0.0
    excess = float(values[0] - start)
    if rate <= 0 or excess <= 0:
        return math.inf
    return -NormalDist().inv_cdf(max(_TAIL * math.exp(-excess / rate), 1e-300))


def robust_scale(values: Array) -> tuple[Array, Array]:
    """Median and a standard deviation that a tenth of outliers on either side do not change.

    Args:
        values: (sets, n).

    Returns:
        The medians, and the standard deviations of normals whose middle 80 % are as wide, (sets, 1) each.
    """
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], 1, keepdims=True)
    scale = (high - low) / 2.563
    return middle, np.where(scale > 0, scale, np.maximum(values.std(1, keepdims=True), 1e-12))


def _rates_of_positive(values: Array, mean: Array) -> Array:
    """Rates exp(a + b log mean), (sets, N, D), of Poisson counts of which the positive are seen; by Newton's method."""
    offset = np.log(np.maximum(mean, 1e-3))
    along = standardized(offset)
    positive = values > 0
    a, b = np.zeros((2, len(values), 1, 1))
    for _ in range(12):
        rates = np.exp(np.clip(offset + a + b * along, -12, 20))
        shown = -np.expm1(-rates)  # P(count > 0)
        error = np.where(positive, values - rates / shown, 0.0)
        slope = np.where(positive, rates / shown * (1 - rates * np.exp(-rates) / shown), 0.0)
        # A weak prior, N(0, 1) of both, keeps them finite where there are few positive counts.
        ga, gb = error.sum((1, 2), keepdims=True) - a, (error * along).sum((1, 2), keepdims=True) - b
        aa, bb = 1 + slope.sum((1, 2), keepdims=True), 1 + (slope * along**2).sum((1, 2), keepdims=True)
        ab = (slope * along).sum((1, 2), keepdims=True)
        det = aa * bb - ab**2
        a = a + np.clip((bb * ga - ab * gb) / det, -1, 1)
        b = b + np.clip((aa * gb - ab * ga) / det, -1, 1)
    return np.asarray(np.exp(np.clip(offset + a + b * along, -12, 20)))


def standardized(values: Array) -> Array:
    """Values with mean 0 and variance 1.

    Args:
        values: (...).

    Returns:
        Of the same shape; 0 where all are the same.
    """
    centred = values - values.mean()
    return np.asarray(centred / (centred.std() or 1.0))
