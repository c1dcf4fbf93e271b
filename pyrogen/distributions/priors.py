"""Distributions of latents: p(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.nn import Shape, as_shape

__all__ = ["Prior", "StandardNormal"]


class Prior(ABC):
    """A distribution of latents p(z), for each datum the same.

    A prior is also an `nn.Module` and a `dataclass(eq=False)`, written `class Vamp(nn.Module, Prior)` with `forward` in
    place of `__call__`, so that its tensors follow the story's device and type. Its fields are numbers, strings and
    tuples, from which a run folder can build it again.
    """

    @abstractmethod
    def __call__(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        """The prior, batch shape (), event shape that of the latent.

        Args:
            encode: the story's q(z given x), for priors built of it, as the VampPrior is.
        """

    def check(self, latent_shape: tuple[int, ...]) -> None:  # noqa: B027 (optional)
        """Raise a one-line ValueError if the prior is not for latents of `latent_shape`."""

    def prepare(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Start from the training data `x`, before the first step."""


@dataclass(eq=False)
class StandardNormal(nn.Module, Prior):
    """z ~ N(0, I).

    Args:
        latent: number of latents, or their event shape.

    Example:
        >>> StandardNormal(3)().event_shape
        torch.Size([3])
    """

    latent: Shape

    def __post_init__(self) -> None:
        super().__init__()
        self._shape = self.latent = as_shape(self.latent)
        self.loc: Tensor
        self.scale: Tensor
        self.register_buffer("loc", torch.zeros(self._shape), persistent=False)
        self.register_buffer("scale", torch.ones(self._shape), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution] | None = None) -> dist.TorchDistribution:
        """The prior."""
        return dist.Normal(self.loc, self.scale).to_event(len(self._shape))

    def check(self, latent_shape: tuple[int, ...]) -> None:
        """Refuse latents of another shape."""
        if latent_shape != self._shape:
            raise ValueError(f"prior=StandardNormal({self._shape}) is not for latents of shape {latent_shape}")
