"""Posteriors that a normalizing flow transforms from a Gaussian."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.distributions.family import Family, check_positive, promote_outputs
from pyrogen.distributions.flows.autoregressive import AutoregressiveLayer
from pyrogen.distributions.flows.bijections import BijectionConfig
from pyrogen.distributions.flows.couplings import Coupling
from pyrogen.distributions.flows.elementwise import GatedAffine
from pyrogen.distributions.flows.normalizing_flow import NormalizingFlow
from pyrogen.distributions.posteriors import vector_size
from pyrogen.nn import as_shape


class _TransformedNormal(nn.Module, Family):
    """z = f(z_0; c), z_0 ~ N(mean, scale^2), with means, raw log-scales and context c from the network."""

    latent: Count
    context: CountOrZero
    floor: float

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs: means, raw log-scales and the context.

        Args:
            event_shape: (K,); other shapes are a ValueError.

        Returns:
            (2 K + context,).
        """
        return (2 * vector_size(type(self).__name__, event_shape) + self.context,)

    def point(self, distribution: dist.TorchDistribution) -> Tensor:
        """The image of the mean of z_0 under the flow.

        Args:
            distribution: one that the family made.

        Returns:
            z (*batch_shape, K).
        """
        z: Tensor = distribution.base_dist.mean
        for transform in distribution.transforms:
            z = transform(z)
        return z

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """The distribution q(z | outputs).

        Args:
            outputs: (..., *size(event_shape)).
            event_shape: (K,).

        Returns:
            A distribution of batch shape (...).
        """
        latent, name = self.latent, f"{type(self).__name__}({self.latent}) over {event_shape}"
        outputs, _ = promote_outputs(outputs, self.size((latent,)), name)
        mean, raw, context = outputs.split([latent, latent, self.context], -1)
        base = dist.Normal(mean, self.floor + raw.exp()).to_event(1)
        return self._transformed(base, context if self.context else None)

    @abstractmethod
    def _transformed(self, base: dist.TorchDistribution, context: Tensor | None) -> dist.TorchDistribution:
        """The distribution of z = f(z_0; c)."""


@dataclass(eq=False)
class FlowPosterior(_TransformedNormal):
    """z = f(z_0; c),  z_0 ~ N(mean, scale^2): a guide that transforms a Gaussian differently for each datum.

    The network gives K means, K raw log-scales r with scale = floor + exp(r), and the context c.

    Args:
        latent: number of latents K.
        transforms: f, or its parts in order from z_0 to z, `Coupling(steps=2)` by default;
            `Autoregressive(inverse=True)` is an inverse autoregressive flow, and `ZukoFlow("NSF")` one of zuko's.
        context: size of the context c, which is an input of every layer; 64 by default.
        floor: smallest scale, 1e-6 by default.

    Raises:
        ValueError: `floor` is not positive.

    Example:
        >>> flow = FlowPosterior(3, context=4)
        >>> flow.size((3,)), flow(torch.zeros(5, 10), (3,)).rsample().shape
        ((10,), torch.Size([5, 3]))

    References:
        Rezende, Mohamed 2015, arXiv:1505.05770; Kingma et al. 2016, arXiv:1606.04934.
    """

    latent: Count
    transforms: BijectionConfig | Sequence[BijectionConfig] = Coupling(steps=2)  # noqa: RUF009 (frozen)
    context: CountOrZero = 64
    floor: float = 1e-6

    def __post_init__(self) -> None:
        super().__init__()
        check_positive(self, "floor")
        self.flow = NormalizingFlow(self.latent, self.transforms, context=self.context)

    @property
    def sequential_log_prob(self) -> bool:  # type: ignore[override]
        """Whether the density of values other than its own last draw takes one pass for each latent."""
        return any(isinstance(each, BijectionConfig) and each.sequential_log_prob for each in self.flow.transforms)

    def _transformed(self, base: dist.TorchDistribution, context: Tensor | None) -> dist.TorchDistribution:
        return self.flow(context, base)


@dataclass(eq=False)
class InverseAutoregressiveFlow(_TransformedNormal):
    """z_0 ~ N(mean, scale^2),  z_t = s_t * z_{t-1} + (1 - s_t) * m_t,  z = z_T: an inverse autoregressive flow.

    Element i of s_t = sigmoid(2 + ...) and m_t depends on the elements of z_{t-1} before it, in an order that is
    reversed from step to step, and on a context: log q(z) = log q(z_0) - sum_t sum_i log s_ti. The network gives K
    means, K raw log-scales r with scale = floor + exp(r), and the context. A draw and its density take one pass; the
    density of any other z takes one pass for each latent.

    Args:
        latent: number of latents K, at least 2.
        steps: number of steps T, 2 by default.
        context: size of the context, which is an input of every step; 64 by default.
        hidden: widths of the masked networks that give m and s, each at least K; (128,) by default.
        floor: smallest scale, 1e-6 by default.

    Raises:
        ValueError: there are fewer than 2 latents, no step, or a width below K, or `floor` is not positive.

    Example:
        >>> flow = InverseAutoregressiveFlow(3, context=4)
        >>> flow.size((3,)), flow(torch.zeros(5, 10), (3,)).rsample().shape
        ((10,), torch.Size([5, 3]))

    References:
        Kingma et al. 2016, arXiv:1606.04934; Germain et al. 2015, arXiv:1502.03509 (masked networks).
    """

    latent: Count
    steps: Count = 2
    context: CountOrZero = 64
    hidden: Sequence[int] = (128,)
    floor: float = 1e-6

    sequential_log_prob: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__init__()
        self.hidden = as_shape(self.hidden)
        if self.latent < 2:
            raise ValueError(f"a flow needs at least 2 latents, got latent={self.latent}: use DiagonalNormal")
        if self.steps < 1 or not self.floor > 0:
            raise ValueError(
                f"a flow needs a step and a positive floor, got steps={self.steps} and floor={self.floor!r}"
            )
        if min(self.hidden, default=0) < self.latent:
            raise ValueError(f"hidden widths must be at least latent={self.latent}, got hidden={self.hidden}")
        self.layers = nn.ModuleList(
            AutoregressiveLayer(self.latent, self.context, list(self.hidden), GatedAffine(), t, True, nn.ELU())
            for t in range(self.steps)
        )

    def _transformed(self, base: dist.TorchDistribution, context: Tensor | None) -> dist.TorchDistribution:
        return dist.TransformedDistribution(base, [layer(context) for layer in self.layers])
