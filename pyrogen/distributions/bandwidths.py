"""Bandwidths of kernel density estimates, chosen from the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_DISTANCES = 2**24
"""How many squared distances are kept in memory at the same time."""


class Bandwidth(ABC):
    """A rule for the bandwidth h of a kernel density estimate from N points of D features."""

    @abstractmethod
    def __call__(self, x: Tensor) -> float:
        """The bandwidth h.

        Args:
            x: points (N, D).

        Returns:
            h, in the units of x.
        """


@dataclass(frozen=True)
class Scott(Bandwidth):
    """h = s N^(-1 / (D + 4)), s^2 the mean of the features' variances; scikit-learn's and SciPy's factors leave out s.

    References:
        Scott 1992, "Multivariate density estimation", doi:10.1002/9780470316849.
    """

    def __call__(self, x: Tensor) -> float:
        """The bandwidth h for points `x` (N, D)."""
        return _spread(x) * len(x) ** (-1 / (x.shape[1] + 4))


@dataclass(frozen=True)
class Silverman(Bandwidth):
    """h = s (N (D + 2) / 4)^(-1 / (D + 4)), s^2 the mean of the features' variances: the best h for a Gaussian.

    References:
        Silverman 1986, "Density estimation for statistics and data analysis", section 4.3.2.
    """

    def __call__(self, x: Tensor) -> float:
        """The bandwidth h for points `x` (N, D)."""
        return _spread(x) * (len(x) * (x.shape[1] + 2) / 4) ** (-1 / (x.shape[1] + 4))


@dataclass(frozen=True)
class LeaveOneOutBandwidth(Bandwidth):
    """The h that maximizes sum_i log p_i(x_i), where p_i is the estimate from all points but the i-th.

    The derivative vanishes where h^2 = mean_i sum_j r_ij d_ij^2 / D, the r_ij being the posterior of the point j that
    x_i came from. Such a mean lies between that over nearest points and that over all points, and h^2 is found between
    these by bisection. Where N^2 is above 2^24, i runs over fewer points, evenly spaced, for at most 2^24 distances.
    Fewer than 2 points are a ValueError, and points that all have exact copies, for which h = 0 would be best.

    Example:
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> bool(0.05 < LeaveOneOutBandwidth()(x) < 0.5)
        True

    References:
        Habbema, Hermans, van den Broek 1974, COMPSTAT; Duin 1976, IEEE Transactions on Computers 25(11).
    """

    def __call__(self, x: Tensor) -> float:
        """The bandwidth h for points `x` (N, D)."""
        if len(x) < 2:
            raise ValueError(
                f"LeaveOneOutBandwidth needs at least 2 points, got {len(x)}: pass the bandwidth as a number"
            )
        left_out = torch.arange(0, len(x), -(-(len(x) ** 2) // MAX_DISTANCES), device=x.device)
        squares = squared_distances(x[left_out], x) / x.shape[1]
        squares[torch.arange(len(left_out), device=x.device), left_out] = torch.inf
        nearest, others = squares.min(1).values.mean(), squares[squares.isfinite()].mean()
        if not nearest > 0:
            raise ValueError(
                "LeaveOneOutBandwidth: every point has an exact copy, so that the best bandwidth is 0: add noise to "
                "(dequantize) the data, or pass the bandwidth as a number"
            )
        low, high = nearest.log(), others.log()
        for _ in range(40):
            middle = (low + high) / 2
            weight = (-x.shape[1] * squares / (2 * middle.exp())).softmax(1)
            wider = (weight * squares.nan_to_num(posinf=0.0)).sum(1).mean().log() > middle
            low, high = torch.where(wider, middle, low), torch.where(wider, high, middle)
        return float((middle / 2).exp())


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """The squared distances |x_i - y_j|^2, not computed as a difference of large numbers, however far from 0.

    Args:
        x: points (N, D).
        y: points (M, D).

    Returns:
        Squared distances (N, M).

    Example:
        >>> squared_distances(torch.tensor([[1e6]]), torch.tensor([[1e6 + 1], [1e6]]))
        tensor([[1., 0.]])
    """
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def _spread(x: Tensor) -> float:
    """The root mean square deviation of a feature."""
    return float(x.double().var(0, correction=0).mean().sqrt())
