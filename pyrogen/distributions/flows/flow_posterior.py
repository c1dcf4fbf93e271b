"""Posteriors that a normalizing flow bends away from the Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import ConditionalAffineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from pyrogen.distributions.family import Family, promote_outputs
from pyrogen.distributions.flows.bijections import BijectionConfig
from pyrogen.distributions.flows.couplings import Coupling
from pyrogen.distributions.flows.normalizing_flow import NormalizingFlow
from pyrogen.distributions.posteriors import one_dimension
from pyrogen.nn import as_shape

__all__ = ["FlowPosterior", "InverseAutoregressiveFlow"]


@dataclass(eq=False)
class FlowPosterior(nn.Module, Family):
    """z = f(z_0; c),  z_0 ~ N(mean, scale^2): a guide that the transforms bend, for each datum in its own way.

    The network gives K means, K raw log-scales r with scale = floor + exp(r), and the context c.

    Args:
        latent: number of latents K.
        transforms: definitions of f, from z_0 to z; `Autoregressive(inverse=True)` is an inverse autoregressive flow.
        context: how many numbers c the network tells every layer.
        floor: smallest scale.

    Raises:
        ValueError: `floor` is not positive, or the latents' shape is not (K,).

    Example:
        >>> flow = FlowPosterior(3, context=4)
        >>> flow.size((3,)), flow(torch.zeros(5, 10), (3,)).rsample().shape
        ((10,), torch.Size([5, 3]))

    References:
        Rezende, Mohamed 2015, arXiv:1505.05770; Kingma et al. 2016, arXiv:1606.04934.
    """

    latent: int
    transforms: BijectionConfig | Sequence[BijectionConfig] = Coupling(steps=2)  # noqa: RUF009 (frozen)
    context: int = 64
    floor: float = 1e-6

    def __post_init__(self) -> None:
        super().__init__()
        if not self.floor > 0:
            raise ValueError(f"FlowPosterior needs a positive floor, got floor={self.floor!r}")
        self.flow = NormalizingFlow(self.latent, self.transforms, context=self.context)

    @property
    def sequential_log_prob(self) -> bool:  # type: ignore[override]
        """Whether a transform scores its own draws alone in one pass."""
        return any(isinstance(each, BijectionConfig) and each.sequential_log_prob for each in self.flow.transforms)

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Means, raw log-scales and the context."""
        return (2 * one_dimension("FlowPosterior", event_shape) + self.context,)

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """q(z | outputs)."""
        base, context = _base_and_context(self, outputs, event_shape)
        density: dist.TorchDistribution = self.flow(context, base)
        return density

    def point(self, distribution: dist.TorchDistribution) -> Tensor:
        """Where the flow takes the mean of z_0."""
        return _moved_mean(distribution)


@dataclass(eq=False)
class InverseAutoregressiveFlow(nn.Module, Family):
    """z_0 ~ N(mean, scale^2),  z_t = s_t * z_{t-1} + (1 - s_t) * m_t,  z = z_T: an inverse autoregressive flow.

    Element i of s_t = sigmoid(2 + ...) and m_t depends on the elements of z_{t-1} before it, in an order that turns
    around from step to step, and on a context: log q(z) = log q(z_0) - sum_t sum_i log s_ti. The network gives K means,
    K raw log-scales r with scale = floor + exp(r), and the context. Drawing z and scoring what was drawn is one pass;
    the density of any other z is found one element at a time.

    Args:
        latent: number of latents K, at least 2.
        steps: of the flow, T.
        context: how many numbers the network tells every step.
        hidden: widths of the masked networks that give m and s, each at least K.
        floor: smallest scale.

    Raises:
        ValueError: fewer than 2 latents, no step, a width below K, or `floor` is not positive.

    Example:
        >>> flow = InverseAutoregressiveFlow(3, context=4)
        >>> flow.size((3,)), flow(torch.zeros(5, 10), (3,)).rsample().shape
        ((10,), torch.Size([5, 3]))

    References:
        Kingma et al. 2016, arXiv:1606.04934; Germain et al. 2015, arXiv:1502.03509 (masked networks).
    """

    latent: int
    steps: int = 2
    context: int = 64
    hidden: Sequence[int] = (128,)
    floor: float = 1e-6

    sequential_log_prob: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__init__()
        self.hidden = as_shape(self.hidden)
        if self.latent < 2:
            raise ValueError(f"a flow needs at least 2 latents, got latent={self.latent}: take DiagonalNormal")
        if self.steps < 1 or not self.floor > 0:
            raise ValueError(f"a flow needs a step and a positive floor, got {self.steps} and floor={self.floor!r}")
        if min(self.hidden, default=0) < self.latent:
            raise ValueError(f"hidden widths must be at least latent={self.latent}, got hidden={self.hidden}")
        order = torch.arange(self.latent)
        self.layers = nn.ModuleList(
            _Masked(self.latent, self.context, list(self.hidden), permutation=order.flip(0) if t % 2 else order)
            for t in range(self.steps)
        )

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Means, raw log-scales and the context."""
        return (2 * one_dimension("InverseAutoregressiveFlow", event_shape) + self.context,)

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """q(z | outputs)."""
        base, context = _base_and_context(self, outputs, event_shape)
        steps = [ConditionalAffineAutoregressive(layer, stable=True).condition(context) for layer in self.layers]
        return dist.TransformedDistribution(base, steps)

    def point(self, distribution: dist.TorchDistribution) -> Tensor:
        """Where the flow takes the mean of z_0."""
        return _moved_mean(distribution)


def _base_and_context(
    family: FlowPosterior | InverseAutoregressiveFlow, outputs: Tensor, event_shape: tuple[int, ...]
) -> tuple[dist.TorchDistribution, Tensor]:
    """q(z_0 | outputs), and what is left of the outputs for the transforms."""
    latent = family.latent
    outputs, _ = promote_outputs(
        outputs, family.size((latent,)), f"{type(family).__name__}({latent}) over {event_shape}"
    )
    mean, raw, context = outputs.split([latent, latent, family.context], -1)
    return dist.Normal(mean, family.floor + raw.exp()).to_event(1), context


def _moved_mean(distribution: dist.TorchDistribution) -> Tensor:
    """Where a flow's transforms take its base's mean."""
    z: Tensor = distribution.base_dist.mean
    for step in distribution.transforms:
        z = step(z)
    return z


class _Masked(ConditionalAutoRegressiveNN):
    """Pyro's masked network with ELU inside; under autocast too, what it gives is of the type of the latents."""

    def __init__(self, latent: int, context: int, hidden: list[int], permutation: Tensor) -> None:
        super().__init__(latent, context, hidden, permutation=permutation, nonlinearity=nn.ELU())  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.to(x.dtype) for part in super().forward(x, context))
