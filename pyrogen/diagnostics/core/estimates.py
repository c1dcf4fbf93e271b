"""Figures and how far chance may have moved them: one, or those of many data at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Estimate", "Estimates"]

Array = NDArray[Any]


class Estimate(NamedTuple):
    """A figure with its standard error.

    Example:
        >>> print(Estimate.mean(torch.tensor([1.0, 2.0, 3.0])))
        2.00 ± 0.58
    """

    value: float
    error: float

    @classmethod
    def mean(cls, values: Tensor) -> Estimate:
        """The mean of independent values (n,), its error their standard deviation over the root of n."""
        values = values.double()
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))

    @classmethod
    def share(cls, hits: Tensor) -> Estimate:
        """The share of independent hits (n,), bool; its error is taken at (hits + 1) / (n + 2), so that none is 0."""
        count, n = int(hits.sum()), len(hits)
        near = (count + 1) / (n + 2)
        return cls(count / n, math.sqrt(near * (1 - near) / n))

    def __str__(self) -> str:
        if self.error <= 1e-9 * abs(self.value):  # exact, to rounding
            return f"{self.value:.4g}"
        if not (math.isfinite(self.error) and self.error > 0):
            return f"{self.value:.4g} ± {self.error:.2g}"
        digits = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.value:.{digits}f} ± {self.error:.2g}"


@dataclass(frozen=True)
class Estimates:
    """An array of estimates, mostly by datum.

    Args:
        value: the estimates, of any shape.
        error: their Monte Carlo standard errors, of the same shape; 0 where exact, nan where there is none to be had.

    Example:
        >>> print(Estimates.of_draws(np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])))
        3.50 ± 0.41 on average, 2 to 5
    """

    value: Array
    error: Array

    @classmethod
    def of_draws(cls, draws: Any) -> Estimates:
        """Means over independent draws, which come first; of a single draw the error is nan."""
        draws = np.asarray(draws, dtype=np.float64)
        mean = draws.mean(0)
        if len(draws) == 1:
            return cls(mean, np.full_like(mean, np.nan))
        return cls(mean, draws.std(0, ddof=1) / np.sqrt(len(draws)))

    @classmethod
    def of_counts(cls, hits: Any, trials: int) -> Estimates:
        """Probabilities, from counts of successes; errors are taken at (hits + 1) / (trials + 2), so that none is 0."""
        hits = np.asarray(hits, dtype=np.float64)
        near = (hits + 1) / (trials + 2)
        return cls(hits / trials, np.sqrt(near * (1 - near) / trials))

    @classmethod
    def joined(cls, parts: Iterable[Estimates]) -> Estimates:
        """Parts after one another, along their first dimension."""
        parts = list(parts)
        return cls(np.concatenate([p.value for p in parts]), np.concatenate([p.error for p in parts]))

    def mean(self) -> Estimate:
        """The mean over all entries, whose errors are taken to be independent."""
        error = np.sqrt(np.sum(np.square(self.error))) / np.size(self.value)
        return Estimate(float(np.mean(self.value)), float(error))

    def sum(self) -> Estimate:
        """The sum over all entries, whose errors are taken to be independent."""
        return Estimate(float(np.sum(self.value)), float(np.sqrt(np.sum(np.square(self.error)))))

    def __str__(self) -> str:
        if np.size(self.value) == 1:
            return str(self.mean())
        return f"{self.mean()} on average, {np.min(self.value):.3g} to {np.max(self.value):.3g}"
