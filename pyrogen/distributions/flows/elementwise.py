"""Invertible maps of one number with parameters from a network, which the layers of a flow apply to each element."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from pyrogen.annotations import Count
from pyrogen.distributions.family import check_positive


class Elementwise(ABC):
    """Increasing maps z = t(x; r) of numbers, each with parameters r of its own, as a rule the identity at r = 0.

    A map is a frozen dataclass. Both directions also give the logarithm of their slope, of which a layer's sum is the
    log-determinant of its Jacobian.
    """

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of parameters P of the map of one element."""

    @abstractmethod
    def __call__(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The map and its slope.

        Args:
            x: numbers (...).
            raw: parameters r (..., P).

        Returns:
            z = t(x) and log dz/dx, each (...).
        """

    @abstractmethod
    def inverse(self, z: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse map and its slope.

        Args:
            z: numbers (...).
            raw: parameters r (..., P).

        Returns:
            x with t(x) = z and log dx/dz, each (...).
        """


@dataclass(frozen=True)
class Affine(Elementwise):
    """z = exp(s) x + m,  s = limit tanh(r / limit).

    Args:
        limit: upper bound of |s|, 2 by default, so that no single layer loses the digits of a number.

    Raises:
        ValueError: `limit` is not positive.

    Example:
        >>> Affine()(torch.tensor(3.0), torch.zeros(2))
        (tensor(3.), tensor(0.))

    References:
        Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803.
    """

    num_parameters: ClassVar[int] = 2
    """Shift and raw log-scale."""

    limit: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "limit")

    def __call__(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx."""
        shift, log_scale = self._parts(raw)
        return log_scale.exp() * x + shift, log_scale

    def inverse(self, z: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse map and its slope.

        Args:
            z: numbers (...).
            raw: parameters r (..., P).

        Returns:
            x with t(x) = z and log dx/dz, each (...).
        """
        shift, log_scale = self._parts(raw)
        return (z - shift) * (-log_scale).exp(), -log_scale

    def _parts(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        shift, r = raw.unbind(-1)
        return shift, self.limit * torch.tanh(r / self.limit)


@dataclass(frozen=True)
class GatedAffine(Elementwise):
    """z = s x + (1 - s) m,  s = sigmoid(2 + r): the step of an inverse autoregressive flow.

    At r = 0 it is no identity: s is 0.88, as suits layers that start at random.

    Example:
        >>> GatedAffine()(torch.tensor(3.0), torch.tensor([3.0, 0.0]))
        (tensor(3.), tensor(-0.1269))

    References:
        Kingma et al. 2016, arXiv:1606.04934 (equation 14).
    """

    num_parameters: ClassVar[int] = 2
    """The number m and the raw gate r."""

    def __call__(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx."""
        shift, r = raw.unbind(-1)
        gate = torch.sigmoid(r + 2)
        return gate * x + (1 - gate) * shift, functional.logsigmoid(r + 2)

    def inverse(self, z: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse map and its slope.

        Args:
            z: numbers (...).
            raw: parameters r (..., P).

        Returns:
            x with t(x) = z and log dx/dz, each (...).
        """
        shift, r = raw.unbind(-1)
        inverse_gate = 1 + torch.exp(-r - 2)
        return inverse_gate * z + (1 - inverse_gate) * shift, -functional.logsigmoid(r + 2)


@dataclass(frozen=True)
class Spline(Elementwise):
    """A rational-quadratic spline of K bins on [-B, B], the identity outside.

    Between knots (x_k, z_k) and (x_k+1, z_k+1), with slopes d_k and d_k+1 there, s = (z_k+1 - z_k) / (x_k+1 - x_k) and
    t = (x - x_k) / (x_k+1 - x_k),

        z = z_k + (z_k+1 - z_k) (s t^2 + d_k t (1 - t)) / (s + (d_k+1 + d_k - 2 s) t (1 - t)),

    which increases, has slope d_k at each knot, and is inverted by a quadratic equation. The outermost slopes are 1.

    Args:
        bins: number of bins K, 8 by default.
        bound: B, in the units of x, 4 by default; layers keep their numbers near a standard normal's.
        floor: smallest slope at a knot, and smallest width and height of a bin relative to the mean one; 0.01 by
            default.

    Raises:
        ValueError: there are fewer than 2 bins, `bound` is not positive, or `floor` is not in (0, 1).

    Example:
        >>> z, log_slope = Spline(bins=4)(torch.tensor([-9.0, 0.5]), torch.randn(2, 11))
        >>> float(z[0]), float(log_slope[0])
        (-9.0, 0.0)

    References:
        Durkan, Bekasov, Murray, Papamakarios 2019, arXiv:1906.04032; Gregory, Delbourgo 1982, IMA Journal of Numerical
        Analysis 2(2).
    """

    bins: Count = 8
    bound: float = 4.0
    floor: float = 1e-2

    # Pyro's spline is not used: it selects what lies outside by boolean indexing, which compiled steps cannot trace,
    # its outermost slopes are 0.999, and its linear-rational inverse is off by 1e-4 to 1e-3 in float32.

    def __post_init__(self) -> None:
        if self.bins < 2 or not self.bound > 0 or not 0 < self.floor < 1:
            raise ValueError(
                "Spline needs at least 2 bins, a positive bound and a floor between 0 and 1, got "
                f"bins={self.bins!r}, bound={self.bound!r}, floor={self.floor!r}"
            )

    @property
    def num_parameters(self) -> int:
        """Widths, heights, and slopes at the inner knots."""
        return 3 * self.bins - 1

    def __call__(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx."""
        inside, knots = x.clamp(-self.bound, self.bound), self._knots(raw)
        left, width, low, height, slope, next_slope = _bin_of(inside, knots, 0)
        t = (inside - left) / width
        mean, both = height / width, t * (1 - t)
        bottom = mean + (next_slope + slope - 2 * mean) * both
        z = low + height * (mean * t.square() + slope * both) / bottom
        outside = x.abs() > self.bound
        return torch.where(outside, x, z), self._log_slope(outside, t, mean, slope, next_slope, bottom)

    def inverse(self, z: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse map and its slope.

        Args:
            z: numbers (...).
            raw: parameters r (..., P).

        Returns:
            x with t(x) = z and log dx/dz, each (...).
        """
        inside, knots = z.clamp(-self.bound, self.bound), self._knots(raw)
        left, width, low, height, slope, next_slope = _bin_of(inside, knots, 2)
        mean, up = height / width, (inside - low) / height
        bend = next_slope + slope - 2 * mean
        a, b, c = mean - slope + up * bend, slope - up * bend, -mean * up
        # Of the two forms of a root, the one without a difference of numbers of the same sign.
        t = (2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())).clamp(0, 1)
        bottom = mean + bend * t * (1 - t)
        outside = z.abs() > self.bound
        x = torch.where(outside, z, left + width * t)
        return x, -self._log_slope(outside, t, mean, slope, next_slope, bottom)

    def _knots(self, raw: Tensor) -> tuple[Tensor, ...]:
        """For each bin: left end, width, lower end, height, slopes at both ends, each (..., K)."""
        widths, heights, slopes = raw.split([self.bins, self.bins, self.bins - 1], -1)
        ends = [self._ends(lengths) for lengths in (widths, heights)]
        # floor + softplus(offset) = 1, so that r = 0 is the identity.
        offset = math.log(math.expm1(1 - self.floor))
        inner = self.floor + functional.softplus(slopes + offset)
        all_slopes = functional.pad(inner, (1, 1), value=1.0)
        (left, width), (low, height) = ends
        return left, width, low, height, all_slopes[..., :-1], all_slopes[..., 1:]

    def _ends(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Left ends and lengths of bins that fill [-B, B]."""
        shares = self.floor / self.bins + (1 - self.floor) * lengths.softmax(-1)
        inner = 2 * self.bound * shares.cumsum(-1)[..., :-1] - self.bound
        edges = functional.pad(inner, (1, 0), value=-self.bound)
        # Differences of the rounded edges, so that one bin ends exactly where the next begins.
        return edges, functional.pad(inner, (0, 1), value=self.bound) - edges

    def _log_slope(
        self, outside: Tensor, t: Tensor, mean: Tensor, slope: Tensor, next_slope: Tensor, bottom: Tensor
    ) -> Tensor:
        top = next_slope * t.square() + 2 * mean * t * (1 - t) + slope * (1 - t).square()
        return torch.where(outside, 0.0, 2 * (mean / bottom).log() + top.log())


def _bin_of(x: Tensor, knots: tuple[Tensor, ...], edges: int) -> tuple[Tensor, ...]:
    """The knots of the bin that contains x, which is found by the edges `knots[edges]` (..., K); each (...)."""
    at = (x[..., None] >= knots[edges][..., 1:]).sum(-1, keepdim=True)
    return tuple(knot.gather(-1, at).squeeze(-1) for knot in knots)
