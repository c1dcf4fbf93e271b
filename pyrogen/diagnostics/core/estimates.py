"""Estimates with standard errors: a single one, or one for each datum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class Estimate(NamedTuple):
    """A number with its standard error.

    Args:
        value: the estimate.
        error: its standard error, in the same unit.

    Example:
        >>> print(Estimate.mean(torch.tensor([1.0, 2.0, 3.0])))
        2.00 ± 0.58
    """

    value: float
    error: float

    @classmethod
    def mean(cls, values: Tensor) -> Estimate:
        """The mean of independent values.

        Args:
            values: (n,).

        Returns:
            The mean; its error is the standard deviation over the root of n.
        """
        values = values.double()
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))

    @classmethod
    def share(cls, hits: Tensor) -> Estimate:
        """The proportion of True among independent values.

        Args:
            hits: (n,), bool.

        Returns:
            The proportion; its binomial error is taken at (hits + 1) / (n + 2), so that it is never 0.
        """
        share = Estimates.of_counts(int(hits.sum()), len(hits))
        return cls(float(share.value), float(share.error))

    @classmethod
    def exceedance(cls, values: Array, others: Array) -> Estimate:
        """P(value > other), ties half: the area under the ROC curve of two sets of independent scores.

        Args:
            values: (n,).
            others: (m,).

        Returns:
            The probability, with the standard error of a U-statistic.

        References:
            DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44(3).
        """
        below, above = _share_below(values, others), _share_below(others, values)
        error = math.sqrt(below.var(ddof=1) / len(below) + above.var(ddof=1) / len(above))
        return cls(float(below.mean()), error)

    def __str__(self) -> str:
        if self.error <= 1e-9 * abs(self.value):  # exact, to rounding
            return f"{self.value:.4g}"
        if not (math.isfinite(self.error) and self.error > 0):
            return f"{self.value:.4g} ± {self.error:.2g}"
        digits = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.value:.{digits}f} ± {self.error:.2g}"


def _share_below(values: Array, others: Array) -> Array:
    """The share of the others that is below each value, ties half, (n,)."""
    ranked = np.sort(others)
    left, right = (np.searchsorted(ranked, values, side=side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(ranked)))


@dataclass(frozen=True)
class Estimates:
    """An array of estimates, in most cases one for each datum.

    Args:
        value: the estimates, of any shape.
        error: their Monte Carlo standard errors, of the same shape; 0 where exact, nan where unknown.

    Example:
        >>> print(Estimates.of_draws(np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])))
        3.50 ± 0.41 on average, 2 to 5
    """

    value: Array
    error: Array

    @classmethod
    def of_draws(cls, draws: Any) -> Estimates:
        """Means over independent draws.

        Args:
            draws: (draws, ...).

        Returns:
            Means (...); of a single draw the errors are nan.
        """
        draws = np.asarray(draws, dtype=np.float64)
        mean = draws.mean(0)
        if len(draws) == 1:
            return cls(mean, np.full_like(mean, np.nan))
        return cls(mean, draws.std(0, ddof=1) / np.sqrt(len(draws)))

    @classmethod
    def of_counts(cls, hits: Any, trials: int) -> Estimates:
        """Probabilities from counts of successes.

        Args:
            hits: counts of successes, of any shape.
            trials: number of independent trials of each.

        Returns:
            Of the shape of `hits`; errors are taken at (hits + 1) / (trials + 2), so that they are never 0.
        """
        hits = np.asarray(hits, dtype=np.float64)
        near = (hits + 1) / (trials + 2)
        return cls(hits / trials, np.sqrt(near * (1 - near) / trials))

    @classmethod
    def joined(cls, parts: Iterable[Estimates]) -> Estimates:
        """Several arrays of estimates, concatenated.

        Args:
            parts: each of shape (n, ...), equal but for n.

        Returns:
            Of shape (sum of n, ...).
        """
        parts = list(parts)
        return cls(np.concatenate([p.value for p in parts]), np.concatenate([p.error for p in parts]))

    def __sub__(self, other: Estimates) -> Estimates:
        return Estimates(self.value - other.value, np.hypot(self.error, other.error))

    def mean(self) -> Estimate:
        """The mean over all entries.

        Returns:
            The mean; errors of entries are taken to be independent.
        """
        error = np.sqrt(np.sum(np.square(self.error))) / np.size(self.value)
        return Estimate(float(np.mean(self.value)), float(error))

    def sum(self) -> Estimate:
        """The sum over all entries.

        Returns:
            The sum; errors of entries are taken to be independent.
        """
        return Estimate(float(np.sum(self.value)), float(np.sqrt(np.sum(np.square(self.error)))))

    def __str__(self) -> str:
        if np.size(self.value) == 1:
            return str(self.mean())
        return f"{self.mean()} on average, {np.min(self.value):.3g} to {np.max(self.value):.3g}"


def finite_or_none(value: float) -> float | None:
    """A number as strict JSON can hold it.

    Args:
        value: any number.

    Returns:
        The value, None where it is infinite or nan.
    """
    return value if math.isfinite(value) else None
