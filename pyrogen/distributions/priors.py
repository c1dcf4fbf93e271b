"""Distributions of latents: p(z)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.distributions.family import Family, check_positive
from pyrogen.nn import Shape, as_shape


class Prior(ABC):
    """A distribution of latents p(z), the same for each datum.

    A prior is also an `nn.Module` and a `dataclass(eq=False)`, written `class Vamp(nn.Module, Prior)` with `forward` in
    place of `__call__`, so that its tensors follow the story's device and dtype. Its fields are numbers, strings and
    tuples, from which a run folder can build it again.
    """

    latent_shape: tuple[int, ...]
    """Event shape of the latents; not set by priors for latents of any shape."""

    @abstractmethod
    def __call__(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        """The prior.

        Args:
            encode: the story's q(z | x), for priors that are built from it, as the VampPrior is.

        Returns:
            A distribution of batch shape (), its event shape that of the latent.
        """

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:
        """Check that the prior can be used in a story.

        Args:
            latent_shape: event shape of the story's latent.
            posterior: the family of the story's q(z | x), if it has one; not used here.

        Raises:
            ValueError: the prior is for latents of another shape.
        """
        own = getattr(self, "latent_shape", latent_shape)
        if own != latent_shape:
            raise ValueError(f"prior={type(self).__name__}({own}) is not for latents of shape {latent_shape}")

    def prepare(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Initialize parameters from the training data, before the first step; by default nothing is done.

        Args:
            x: training data (n, *event_shape).
        """


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
        self.latent_shape = self.latent = as_shape(self.latent)
        self.loc = nn.Buffer(torch.zeros(self.latent_shape), persistent=False)
        self.scale = nn.Buffer(torch.ones(self.latent_shape), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution] | None = None) -> dist.TorchDistribution:
        """The prior.

        Args:
            encode: not used.

        Returns:
            A distribution of batch shape ().
        """
        return dist.Normal(self.loc, self.scale).to_event(len(self.latent_shape))


@dataclass(eq=False)
class NormalMixture(nn.Module, Prior):
    """z ~ sum_c w_c N(mean_c, scale_c^2 I): a learned mixture of diagonal normals.

    Weights are softmax(logits), scales floor + exp(r). It starts with equal weights, means spread evenly over N(0, I),
    scales of 1.

    Args:
        latent: number of latents, or their event shape.
        components: number of components, 50 by default.
        floor: smallest standard deviation, 0.001 by default.

    Raises:
        ValueError: there is no component, or `floor` is not positive.

    Example:
        >>> NormalMixture(3, components=5)().log_prob(torch.zeros(7, 3)).shape
        torch.Size([7])

    References:
        Dilokthanakul et al. 2016, arXiv:1611.02648.
    """

    latent: Shape
    components: Count = 50
    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__init__()
        self.latent_shape = self.latent = as_shape(self.latent)
        _check_components(self)
        check_positive(self, "floor")
        self.logits = nn.Parameter(torch.zeros(self.components))
        # Not from torch's generator: a run with the same seed would draw the same numbers again for its validation.
        even = torch.quasirandom.SobolEngine(math.prod(self.latent_shape), scramble=True, seed=0).draw(self.components)
        means = torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6)).reshape(self.components, *self.latent_shape)
        self.means = nn.Parameter(means.to(torch.get_default_dtype()))
        self.raw_scales = nn.Parameter(torch.zeros(self.components, *self.latent_shape))

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution] | None = None) -> dist.TorchDistribution:
        """The prior.

        Args:
            encode: not used.

        Returns:
            A distribution of batch shape ().
        """
        normals = dist.Normal(self.means, self.floor + self.raw_scales.exp()).to_event(len(self.latent_shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), normals)


@dataclass(eq=False)
class VampPrior(nn.Module, Prior):
    """z ~ 1/C sum_c q(z | u_c): the mixture of the guide's posteriors at learned pseudo-inputs u_c.

    The prior that maximizes the ELBO is the aggregate posterior, the mean of q(z | x) over the data, which this
    approximates. The pseudo-inputs start at training data, and may leave the data's range.

    Args:
        event_shape: shape of one datum, and of a pseudo-input.
        components: number of pseudo-inputs C, 500 by default.

    Raises:
        ValueError: there is no component.

    Example:
        >>> prior = VampPrior((1, 4, 4), components=5)
        >>> prior(lambda x: dist.Normal(x.mean((-3, -2)), 1.0).to_event(1)).log_prob(torch.zeros(7, 4)).shape
        torch.Size([7])

    References:
        Tomczak, Welling 2018, arXiv:1705.07120.
    """

    event_shape: Shape
    components: Count = 500

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = as_shape(self.event_shape)
        _check_components(self)
        self.inputs = nn.Parameter(torch.rand(self.components, *self.event_shape))
        self.logits = nn.Buffer(torch.zeros(self.components), persistent=False)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        """The prior.

        Args:
            encode: the story's q(z | x).

        Returns:
            A distribution of batch shape ().
        """
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), encode(self.inputs))

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:
        """Check that the posterior's density of other values than its draws takes one pass.

        Args:
            latent_shape: event shape of the story's latent; not checked.
            posterior: the family of the story's q(z | x).

        Raises:
            ValueError: the density takes a pass for each latent (`sequential_log_prob`).
        """
        if posterior is not None and posterior.sequential_log_prob:
            raise ValueError(
                f"VampPrior needs log q(z | u_c) for {self.components} pseudo-inputs, and {type(posterior).__name__} "
                "computes it one latent at a time: use DiagonalNormal or FullNormal, or another prior"
            )

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Set the pseudo-inputs to training data, drawn without replacement as far as there are enough.

        Args:
            x: training data (n, *event_shape).
        """
        rows = torch.randperm(len(x), device=x.device)[torch.arange(self.components, device=x.device) % len(x)]
        self.inputs.copy_(x[rows])


def _check_components(prior: NormalMixture | VampPrior) -> None:
    if prior.components < 1:
        raise ValueError(f"{type(prior).__name__} needs at least one component, got components={prior.components}")
