"""A figure and how far chance may have moved it."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

__all__ = ["Estimate"]


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
