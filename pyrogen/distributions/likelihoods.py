"""Families for data: p(x given z)."""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
from torch import Tensor

from pyrogen.distributions.family import Family, stacked, unstack

__all__ = ["Bernoulli", "Gaussian"]


@dataclass(frozen=True)
class Bernoulli(Family):
    """x_i ~ Bernoulli(1 / (1 + exp(-l_i))), independent, for data of zeros and ones.

    The network gives the logits l, so that log p(x) = x l - log(1 + exp(l)) neither overflows nor loses digits.

    Raises:
        ValueError: by `check`, for values other than 0 and 1.

    Example:
        >>> import torch
        >>> Bernoulli()(torch.zeros(5, 1, 8, 8), (1, 8, 8)).log_prob(torch.ones(1, 8, 8)).shape
        torch.Size([5])
    """

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs."""
        return event_shape

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        (logits,) = unstack(outputs, 1, event_shape, "Bernoulli")
        return dist.Bernoulli(logits=logits).to_event(len(event_shape))

    def check(self, x: Tensor) -> None:
        """Refuse finite values other than 0 and 1; those that are not finite are refused for every story."""
        grey = x[(x != 0) & (x != 1) & x.isfinite()]
        if grey.numel():
            raise ValueError(
                f"'x' holds {grey.numel()} values other than 0 and 1, the first {float(grey[0]):.4g}, and a Bernoulli "
                "likelihood scores none but these: pass binarize='static', 'dynamic' or 'threshold' to "
                "pyrogen.data.load (--binarize), or take another likelihood, such as Gaussian()"
            )


@dataclass(frozen=True)
class Gaussian(Family):
    """x_i ~ N(mean_i, scale_i^2), independent, for continuous data.

    With `scale=None` the network gives the means and, stacked behind them, raw log-scales r; scale = floor + exp(r),
    which is near exp(r) for large r and never below `floor`, so that the density of a datum that the network fits
    exactly cannot grow without bound. With a number, all scales are that number, and the network gives the means alone.

    Args:
        scale: standard deviation, in the units of the data; None: learned for each element and datum.
        floor: smallest learned standard deviation, in the units of the data.

    Raises:
        ValueError: `scale` or `floor` is not positive.

    Example:
        >>> Gaussian().size((3, 32, 32)), Gaussian(scale=0.1).size((3, 32, 32))
        ((6, 32, 32), (3, 32, 32))
    """

    scale: float | None = None
    floor: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("floor", self.floor)):
            if value is not None and not value > 0:
                raise ValueError(f"Gaussian needs a positive {name}, got {name}={value!r}")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs."""
        return stacked(2 if self.scale is None else 1, event_shape)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        mean, *raw = unstack(outputs, 2 if self.scale is None else 1, event_shape, "Gaussian")
        scale = self.floor + raw[0].exp() if self.scale is None else self.scale
        return dist.Normal(mean, scale).to_event(len(event_shape))
