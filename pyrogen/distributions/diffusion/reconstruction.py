"""The reconstruction term of a diffusion model: p(x | z_0) under a flat prior on x, by Bayes' rule."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrogen.distributions.discrete.grey_level_likelihoods import DiscretizedCategorical
from pyrogen.distributions.family import Family
from pyrogen.distributions.likelihoods import Bernoulli


def reconstruction_distribution(
    family: Family | None, noisy: Tensor, scale: Tensor, event_shape: tuple[int, ...]
) -> dist.TorchDistribution:
    """p(x | noisy) for noisy = x + scale e, e ~ N(0, I), under a flat prior on the family's support.

    For real x it is N(noisy, scale^2); for grey levels and for zeros and ones it is proportional to that density at
    each of them.

    Args:
        family: `Bernoulli` or `DiscretizedCategorical`; None: x is any real number.
        noisy: (..., *event_shape), in the units of x.
        scale: standard deviation of the noise, which broadcasts against an event.
        event_shape: shape of one datum.

    Returns:
        A distribution of batch shape (...) over the family's support.

    Example:
        >>> near = reconstruction_distribution(DiscretizedCategorical(5), torch.tensor([0.3]), torch.tensor(0.05), (1,))
        >>> near.log_prob(torch.tensor([0.25])).exp() > 0.99
        tensor(True)

    References:
        Kingma, Salimans, Poole, Ho 2021, arXiv:2107.00630 (section 3.4).
    """
    if family is None:
        return dist.Normal(noisy, scale.expand(event_shape)).to_event(len(event_shape))
    if isinstance(family, Bernoulli):
        return family((noisy - 0.5) / scale**2, event_shape)
    assert isinstance(family, DiscretizedCategorical)
    lead = noisy.dim() - len(event_shape)
    levels = torch.linspace(0, 1, family.levels, dtype=noisy.dtype, device=noisy.device)
    standardized = (noisy.unsqueeze(lead) - levels.reshape(-1, *[1] * len(event_shape))) / scale
    return family((-0.5 * standardized**2).reshape(*noisy.shape[:lead], *family.size(event_shape)), event_shape)


def check_reconstruction_likelihood(name: str, family: Family | None) -> None:
    """Check that a likelihood is one that `reconstruction_distribution` is defined for.

    Args:
        name: of the story, for the error message.
        family: the likelihood; None: x is any real number.

    Raises:
        ValueError: it is another one.
    """
    if not isinstance(family, Bernoulli | DiscretizedCategorical | None):
        raise ValueError(
            f"{name} needs one of likelihood=Bernoulli(), likelihood=DiscretizedCategorical(levels) or, for continuous "
            f"data, likelihood=None, got {type(family).__name__}"
        )


def reconstruction_log_snr(family: Family | None) -> float:
    """The log-SNR above which `reconstruction_distribution` is almost certain of x, for data between 0 and 1.

    Three standard deviations of the noise are then half the distance of two levels, where the data's own standard
    deviation is 1/2, its upper bound. Real numbers have no levels: 10, at which structure below 1/150 of their standard
    deviation is lost.

    Args:
        family: as that of `reconstruction_distribution`.

    Returns:
        The log-SNR.

    Example:
        >>> reconstruction_log_snr(DiscretizedCategorical(256)), reconstruction_log_snr(None)
        (13.27..., 10.0)
    """
    if family is None:
        return 10.0
    levels = family.levels if isinstance(family, DiscretizedCategorical) else 2
    return 2 * math.log(3 * (levels - 1))
