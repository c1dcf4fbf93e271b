"""Distributions of latents: p(z)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions.family import Family
from pyrogen.nn import Shape, as_shape

__all__ = ["NormalMixture", "Prior", "StandardNormal", "VampPrior"]


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

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:  # noqa: B027 (optional)
        """Raise a one-line ValueError if the prior is not for latents of `latent_shape`, or does not suit the guide."""

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

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:
        """Refuse latents of another shape."""
        check_latent(self, self._shape, latent_shape)


@dataclass(eq=False)
class NormalMixture(nn.Module, Prior):
    """z ~ sum_c w_c N(mean_c, scale_c^2 I): a learned mixture of diagonal normals.

    Weights are softmax(logits), scales floor + exp(r). It starts with equal weights, means spread evenly over N(0, I),
    scales of 1.

    Args:
        latent: number of latents, or their event shape.
        components: number of components.
        floor: smallest standard deviation.

    Raises:
        ValueError: no component, or `floor` is not positive.

    Example:
        >>> NormalMixture(3, components=5)().log_prob(torch.zeros(7, 3)).shape
        torch.Size([7])

    References:
        Dilokthanakul et al. 2016, arXiv:1611.02648.
    """

    latent: Shape
    components: int = 50
    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__init__()
        self._shape = self.latent = as_shape(self.latent)
        _check_components(self)
        if not self.floor > 0:
            raise ValueError(f"NormalMixture needs a positive floor, got floor={self.floor!r}")
        self.logits = nn.Parameter(torch.zeros(self.components))
        # Drawn from torch's generator, they would be the very noise that a run of the same seed validates with.
        even = torch.quasirandom.SobolEngine(math.prod(self._shape), scramble=True, seed=0).draw(self.components)
        means = torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6)).reshape(self.components, *self._shape)
        self.means = nn.Parameter(means.to(torch.get_default_dtype()))
        self.raw_scales = nn.Parameter(torch.zeros(self.components, *self._shape))

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution] | None = None) -> dist.TorchDistribution:
        """The prior."""
        normals = dist.Normal(self.means, self.floor + self.raw_scales.exp()).to_event(len(self._shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), normals)

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:
        """Refuse latents of another shape."""
        check_latent(self, self._shape, latent_shape)


@dataclass(eq=False)
class VampPrior(nn.Module, Prior):
    """z ~ 1/C sum_c q(z | u_c): the mixture of the guide's posteriors at learned pseudo-inputs u_c.

    Of all priors the best for the ELBO is the aggregate posterior, the mean of q(z | x) over the data, of which this is
    an affordable part. The pseudo-inputs start at training data, and are free to leave the data's range.

    Args:
        event_shape: shape of one datum, and of a pseudo-input.
        components: number of pseudo-inputs C.

    Raises:
        ValueError: no component; by `check`, a posterior whose density at a given z takes a pass for each latent.

    Example:
        >>> prior = VampPrior((1, 4, 4), components=5)
        >>> prior(lambda x: dist.Normal(x.mean((-3, -2)), 1.0).to_event(1)).log_prob(torch.zeros(7, 4)).shape
        torch.Size([7])

    References:
        Tomczak, Welling 2018, arXiv:1705.07120.
    """

    event_shape: Shape
    components: int = 500

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = as_shape(self.event_shape)
        _check_components(self)
        self.inputs = nn.Parameter(torch.rand(self.components, *self.event_shape))
        self.logits: Tensor
        self.register_buffer("logits", torch.zeros(self.components), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        """The prior."""
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), encode(self.inputs))

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:
        """Refuse a posterior that scores its own draws alone."""
        if posterior is not None and posterior.sequential_log_prob:
            raise ValueError(
                f"VampPrior scores every latent under {self.components} posteriors, and {type(posterior).__name__} "
                "scores none but its own draws in one pass: take DiagonalNormal or FullNormal, or another prior"
            )

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Start at data drawn from `x`, without replacement as far as they go."""
        rows = torch.randperm(len(x), device=x.device)[torch.arange(self.components, device=x.device) % len(x)]
        self.inputs.copy_(x[rows])


def _check_components(prior: NormalMixture | VampPrior) -> None:
    if prior.components < 1:
        raise ValueError(f"{type(prior).__name__} needs at least one component, got components={prior.components}")


def check_latent(prior: Prior, mine: tuple[int, ...], latent_shape: tuple[int, ...]) -> None:
    """Refuse latents of another shape than the prior's own, `mine`."""
    if latent_shape != mine:
        raise ValueError(f"prior={type(prior).__name__}({mine}) is not for latents of shape {latent_shape}")
