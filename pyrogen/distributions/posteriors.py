"""Families for guides: q(z | x)."""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrogen.distributions.family import Family, check_positive, promote_outputs
from pyrogen.distributions.likelihoods import Gaussian


@dataclass(frozen=True)
class DiagonalNormal(Gaussian):
    """z_u ~ N(mean_u, scale_u^2), independent: the mean-field guide.

    With `scale=None` the network gives the means and, stacked behind them, numbers r; scale = floor + exp(r) where r is
    negative, floor + 1 + r above, so that scales cannot diverge where the objective does not bound them, as in a chain
    of latents under KL warm-up. With a number, such as 1, all scales are that number, and the network gives the means.

    Args:
        scale: standard deviation; None, the default: learned for each latent and datum.
        floor: smallest learned standard deviation, 1e-6 by default; it keeps exp(r) from vanishing in float32.

    Raises:
        ValueError: `scale` or `floor` is not positive.

    Example:
        >>> import torch
        >>> DiagonalNormal()(torch.zeros(5, 4), (2,)).rsample().shape
        torch.Size([5, 2])

    References:
        Kingma, Welling 2013, arXiv:1312.6114.
    """

    floor: float = 1e-6

    def _learned_scale(self, r: Tensor) -> Tensor:
        return self.floor + torch.where(r < 0, r.clamp(max=0).exp(), 1 + r)


@dataclass(frozen=True)
class FullNormal(Family):
    """z ~ N(mean, L L'), L lower triangular: a guide of correlated latents.

    The network gives K means, K raw log-scales r with L_kk = floor + exp(r_k), and the K (K - 1) / 2 numbers of L below
    its diagonal, row by row.

    Args:
        floor: smallest number on the diagonal of L, 1e-6 by default.

    Raises:
        ValueError: `floor` is not positive.

    Example:
        >>> import torch
        >>> FullNormal().size((3,)), FullNormal()(torch.zeros(5, 9), (3,)).rsample().shape
        ((9,), torch.Size([5, 3]))
    """

    floor: float = 1e-6

    def __post_init__(self) -> None:
        check_positive(self, "floor")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs: means, raw log-scales, and the numbers below the diagonal.

        Args:
            event_shape: (K,); other shapes are a ValueError.

        Returns:
            (2 K + K (K - 1) / 2,).
        """
        latent = vector_size("FullNormal", event_shape)
        return (2 * latent + latent * (latent - 1) // 2,)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """q(z | outputs)."""
        outputs, _ = promote_outputs(outputs, self.size(event_shape), f"FullNormal over {event_shape}")
        (latent,) = event_shape
        mean, raw, below = outputs.split([latent, latent, outputs.shape[-1] - 2 * latent], -1)
        scale = (self.floor + raw.exp()).diag_embed()
        row, column = torch.tril_indices(latent, latent, -1, device=outputs.device)
        scale[..., row, column] = below
        return dist.MultivariateNormal(mean, scale_tril=scale)


def vector_size(name: str, event_shape: tuple[int, ...]) -> int:
    """The number K of latents of a posterior of vectors.

    Args:
        name: of the posterior, for the error message.
        event_shape: shape of the latents of one datum, (K,).

    Returns:
        K.

    Raises:
        ValueError: `event_shape` has not one dimension.
    """
    if len(event_shape) != 1:
        raise ValueError(f"{name} is for latents of shape (K,), got {event_shape}: use DiagonalNormal, or flatten them")
    return event_shape[0]


def precision_weighted(p: dist.TorchDistribution, q: dist.TorchDistribution) -> dist.TorchDistribution:
    """The normalized product of two diagonal normals: precisions add up, and means are weighted by them.

    Args:
        p: a normal with independent elements.
        q: another one, of the same event shape.

    Returns:
        The normal whose density is proportional to p(z) q(z), of the broadcast batch shape.

    Example:
        >>> import torch
        >>> p, q = dist.Normal(torch.zeros(2), 1.0).to_event(1), dist.Normal(torch.ones(2), 0.5).to_event(1)
        >>> both = precision_weighted(p, q)
        >>> both.mean, both.variance
        (tensor([0.8000, 0.8000]), tensor([0.2000, 0.2000]))

    References:
        Sonderby et al. 2016, arXiv:1602.02282 (equations 17 to 19).
    """
    variance = 1 / (1 / p.variance + 1 / q.variance)
    mean = (p.mean / p.variance + q.mean / q.variance) * variance
    return dist.Normal(mean, variance.sqrt()).to_event(len(p.event_shape))
