"""Noise layers, which corrupt the input in training mode and are the identity in evaluation mode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(eq=False)
class GaussianNoise(nn.Module):
    """Additive Gaussian noise: x + scale e, e ~ N(0, 1), in training mode; x in evaluation mode.

    Args:
        scale: standard deviation, in the units of x.

    Raises:
        ValueError: `scale` is negative.

    Example:
        >>> import torch
        >>> GaussianNoise(0.1).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    scale: float

    def __post_init__(self) -> None:
        super().__init__()
        if not self.scale >= 0:
            raise ValueError(f"GaussianNoise needs a scale of at least 0, got scale={self.scale!r}")

    def forward(self, x: Tensor) -> Tensor:
        """Corrupt the input.

        Args:
            x: input of any shape.

        Returns:
            The corrupted input, of the same shape.
        """
        return x + self.scale * torch.randn_like(x) if self.training else x


@dataclass(eq=False)
class MaskingNoise(nn.Module):
    """Masking noise: each element of x is set to 0 with probability `rate` in training mode; x in evaluation mode.

    Unlike dropout, it does not rescale the elements that remain.

    Args:
        rate: probability that an element is set to 0.

    Raises:
        ValueError: `rate` is not in [0, 1).

    Example:
        >>> import torch
        >>> MaskingNoise(0.3).eval()(torch.ones(2))
        tensor([1., 1.])

    References:
        Vincent, Larochelle, Bengio, Manzagol 2008, "Extracting and composing robust features with denoising
        autoencoders", ICML, doi:10.1145/1390156.1390294.
    """

    rate: float

    def __post_init__(self) -> None:
        super().__init__()
        if not 0 <= self.rate < 1:
            raise ValueError(f"MaskingNoise needs a rate of at least 0 and below 1, got rate={self.rate!r}")

    def forward(self, x: Tensor) -> Tensor:
        """Corrupt the input.

        Args:
            x: input of any shape.

        Returns:
            The corrupted input, of the same shape.
        """
        return torch.where(torch.rand_like(x) < self.rate, 0.0, x) if self.training else x
