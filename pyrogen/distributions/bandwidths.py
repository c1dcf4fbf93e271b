"""Bandwidths of kernel density estimates, chosen from the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Bandwidth", "LeaveOneOutBandwidth", "Scott", "Silverman", "squared_distances"]

_ELEMENTS = 2**24
"""Squared distances that are held at once."""


class Bandwidth(ABC):
    """A rule that chooses the bandwidth h of N points of D features."""

    @abstractmethod
    def __call__(self, x: Tensor) -> float:
        """The bandwidth for the points `x` (N, D), in their units."""


@dataclass(frozen=True)
class Scott(Bandwidth):
    """h = s N^(-1 / (D + 4)), s^2 the mean of the features' variances; scikit-learn's and SciPy's factors leave out s.

    References:
        Scott 1992, "Multivariate density estimation", doi:10.1002/9780470316849.
    """

    def __call__(self, x: Tensor) -> float:
        """The bandwidth for the points `x` (N, D)."""
        return _spread(x) * len(x) ** (-1 / (x.shape[1] + 4))


@dataclass(frozen=True)
class Silverman(Bandwidth):
    """h = s (N (D + 2) / 4)^(-1 / (D + 4)), s^2 the mean of the features' variances: the best h for a Gaussian.

    References:
        Silverman 1986, "Density estimation for statistics and data analysis", section 4.3.2.
    """

    def __call__(self, x: Tensor) -> float:
        """The bandwidth for the points `x` (N, D)."""
        return _spread(x) * (len(x) * (x.shape[1] + 2) / 4) ** (-1 / (x.shape[1] + 4))


@dataclass(frozen=True)
class LeaveOneOutBandwidth(Bandwidth):
    """The h that maximizes sum_i log p_i(x_i), where p_i is the estimate from all points but the i-th.

    The derivative vanishes where h^2 = mean_i sum_j r_ij d_ij^2 / D, the r_ij being the posterior of the point j that
    x_i came from. Such a mean lies between that of nearest and that of all points, and h^2 is found between these by
    bisection. Where N^2 distances are too many, i runs over as many points, evenly spaced, as keeps to 2^24 distances.

    Raises:
        ValueError: there are fewer than 2 points; or each has an exact copy, so that h = 0 would be best.

    Example:
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> bool(0.05 < LeaveOneOutBandwidth()(x) < 0.5)
        True

    References:
        Habbema, Hermans, van den Broek 1974, COMPSTAT; Duin 1976, IEEE Transactions on Computers 25(11).
    """

    def __call__(self, x: Tensor) -> float:
        """The bandwidth for the points `x` (N, D)."""
        if len(x) < 2:
            raise ValueError("LeaveOneOutBandwidth needs at least 2 points: pass the bandwidth as a number")
        left_out = torch.arange(0, len(x), -(-(len(x) ** 2) // _ELEMENTS), device=x.device)
        squares = squared_distances(x[left_out], x) / x.shape[1]
        squares[torch.arange(len(left_out), device=x.device), left_out] = torch.inf
        nearest, others = squares.min(1).values.mean(), squares[squares.isfinite()].mean()
        if not nearest > 0:
            raise ValueError(
                "every point has an exact copy, so that no bandwidth above 0 is best: add noise to (dequantize) the "
                "data, or pass the bandwidth as a number"
            )
        low, high = nearest.log(), others.log()
        for _ in range(40):
            middle = (low + high) / 2
            weight = (-x.shape[1] * squares / (2 * middle.exp())).softmax(1)
            wider = (weight * squares.nan_to_num(posinf=0.0)).sum(1).mean().log() > middle
            low, high = torch.where(wider, middle, low), torch.where(wider, high, middle)
        return float((middle / 2).exp())


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, (N, M), for `x` (N, D) and `y` (M, D): no difference of large numbers, however far from 0.

    Example:
        >>> squared_distances(torch.tensor([[1e6]]), torch.tensor([[1e6 + 1], [1e6]]))
        tensor([[1., 0.]])
    """
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def _spread(x: Tensor) -> float:
    """The root mean square deviation of a feature."""
    return float(x.double().var(0, correction=0).mean().sqrt())
