"""Families for guides: q(z given x)."""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
from torch import Tensor

from pyrogen.distributions.family import Family, stacked, unstack

__all__ = ["DiagonalNormal"]


@dataclass(frozen=True)
class DiagonalNormal(Family):
    """z_u ~ N(mean_u, scale_u^2), independent: the mean-field guide.

    The network gives the means and, stacked behind them, raw log-scales r; scale = floor + exp(r).

    Args:
        floor: smallest standard deviation; it keeps exp(r) from vanishing in float32.

    Raises:
        ValueError: `floor` is not positive.

    Example:
        >>> import torch
        >>> DiagonalNormal()(torch.zeros(5, 4), (2,)).rsample().shape
        torch.Size([5, 2])

    References:
        Kingma, Welling 2013, arXiv:1312.6114.
    """

    floor: float = 1e-6

    def __post_init__(self) -> None:
        if not self.floor > 0:
            raise ValueError(f"DiagonalNormal needs a positive floor, got floor={self.floor!r}")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Means and raw log-scales."""
        return stacked(2, event_shape)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """q(z | outputs)."""
        mean, raw = unstack(outputs, 2, event_shape, "DiagonalNormal")
        return dist.Normal(mean, self.floor + raw.exp()).to_event(len(event_shape))
