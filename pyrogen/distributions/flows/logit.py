"""The logit transform, for data in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig, ValueAndLogDet, sum_event


@dataclass(frozen=True)
class Logit(BijectionConfig):
    """z = logit(alpha + (1 - 2 alpha) x): from data in [0, 1], such as dequantized grey levels, to all real numbers.

    Its Jacobian is included, so that densities are those of x itself.

    Args:
        alpha: smallest distance of the argument of logit from 0 and 1, 0.05 by default; a draw may leave [0, 1] by
            alpha / (1 - 2 alpha).

    Raises:
        ValueError: `alpha` is not in (0, 0.5).

    Example:
        >>> Logit(0.05).build((2,))().inv(torch.tensor([0.5, 1.0]))
        tensor([0.0000, 2.9444])

    References:
        Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803; Papamakarios, Pavlakou, Murray 2017, arXiv:1705.07057.
    """

    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"Logit needs an alpha between 0 and 0.5, got alpha={self.alpha!r}")

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """Make the map, which has no parameters.

        Args:
            event_shape: shape of x.
            context: not used.

        Returns:
            The map.
        """
        return _Logit(event_shape, self.alpha)

    def check(self, x: Tensor) -> None:
        """Check that finite values lie in [0, 1]; non-finite ones are refused for every story.

        Args:
            x: data of any shape.

        Raises:
            ValueError: there are others.
        """
        off = x[((x < 0) | (x > 1)) & x.isfinite()]
        if off.numel():
            raise ValueError(
                f"Logit is for data in [0, 1], but 'x' has {off.numel()} values outside (first: {float(off[0]):.4g}): "
                "rescale x, or leave Logit() out"
            )


class _Logit(Bijection):
    def __init__(self, event_shape: tuple[int, ...], alpha: float) -> None:
        super().__init__(event_shape)
        self.alpha = alpha

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        # Draws may be rounded to 0 or 1; data keep their distance.
        z = torch.logit(self.alpha + (1 - 2 * self.alpha) * x, eps=torch.finfo(x.dtype).eps)
        return z, -self._log_det(z)

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        return (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha), self._log_det(z)

    def _log_det(self, z: Tensor) -> Tensor:
        """log |det dx/dz|, where dx/dz = sigmoid(z) sigmoid(-z) / (1 - 2 alpha)."""
        each = functional.logsigmoid(z) + functional.logsigmoid(-z) - math.log1p(-2 * self.alpha)
        return sum_event(each, len(self.event_shape))
