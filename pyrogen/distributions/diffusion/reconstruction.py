"""A datum read off a noisy copy of itself: p(x given x + noise), by Bayes' rule from a flat prior."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrogen.distributions.family import Family
from pyrogen.distributions.likelihoods import Bernoulli, DiscretizedCategorical

__all__ = ["check_reconstruction_likelihood", "reconstruction_distribution", "reconstruction_log_snr"]


def reconstruction_distribution(
    family: Family | None, seen: Tensor, scale: Tensor, event_shape: tuple[int, ...]
) -> dist.TorchDistribution:
    """p(x | seen) for seen = x + scale e, e ~ N(0, I), where every x of the family's support is as likely as another.

    Of numbers it is N(seen, scale^2); of grey levels and of zeros and ones, proportional to that density at each of
    them.

    Args:
        family: `Bernoulli` or `DiscretizedCategorical`; None: x is any number.
        seen: (..., *event_shape), in the units of x.
        scale: standard deviation of the noise, which broadcasts against an event.
        event_shape: of x.

    Example:
        >>> near = reconstruction_distribution(DiscretizedCategorical(5), torch.tensor([0.3]), torch.tensor(0.05), (1,))
        >>> near.log_prob(torch.tensor([0.25])).exp() > 0.99
        tensor(True)

    References:
        Kingma, Salimans, Poole, Ho 2021, arXiv:2107.00630 (section 3.4).
    """
    if family is None:
        return dist.Normal(seen, scale.expand(event_shape)).to_event(len(event_shape))
    if isinstance(family, Bernoulli):
        return family((seen - 0.5) / scale**2, event_shape)
    assert isinstance(family, DiscretizedCategorical)
    lead = seen.dim() - len(event_shape)
    levels = torch.linspace(0, 1, family.levels, dtype=seen.dtype, device=seen.device)
    away = (seen.unsqueeze(lead) - levels.reshape(-1, *[1] * len(event_shape))) / scale
    return family((-0.5 * away**2).reshape(*seen.shape[:lead], *family.size(event_shape)), event_shape)


def check_reconstruction_likelihood(who: str, family: Family | None) -> None:
    """Refuse a likelihood that `reconstruction_distribution` cannot tell.

    Raises:
        ValueError: naming those that it can.
    """
    if not isinstance(family, Bernoulli | DiscretizedCategorical | None):
        raise ValueError(
            f"{who} reads x off its least noisy level, as one of Bernoulli(), DiscretizedCategorical(levels) or, for continuous "
            f"data, likelihood=None; got {type(family).__name__}"
        )


def reconstruction_log_snr(family: Family | None) -> float:
    """The log-SNR from where on `reconstruction_distribution` loses next to nothing, for data between 0 and 1.

    Three standard deviations of the noise are then half the way between two levels, where the data's own standard
    deviation is 1/2, the most that they can have. Numbers have no levels: 10, by which structure below 1/150 of their
    standard deviation is not told.

    Args:
        family: as that of `reconstruction_distribution`.

    Example:
        >>> reconstruction_log_snr(DiscretizedCategorical(256)), reconstruction_log_snr(None)
        (13.27..., 10.0)
    """
    if family is None:
        return 10.0
    levels = family.levels if isinstance(family, DiscretizedCategorical) else 2
    return 2 * math.log(3 * (levels - 1))
