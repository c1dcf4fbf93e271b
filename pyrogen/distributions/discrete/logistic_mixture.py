"""Mixtures of discretized logistics over the channels of a pixel, each conditioned on those before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrogen.annotations import Count
from pyrogen.distributions.discrete.discretized import GreyLevels, LevelLogistic
from pyrogen.distributions.discrete.grey_level_likelihoods import GreyLevelLikelihood
from pyrogen.distributions.expandable import ExpandableDistribution
from pyrogen.distributions.family import check_positive, promote_outputs


class ChainedLevelLogistic(ExpandableDistribution):
    """x_c | x_1, ..., x_{c-1}: the grey level nearest to Logistic(loc_c + sum_{b < c} slope_cb (x_b - 1/2), scale_c).

    Args:
        loc: (..., C), in units of x.
        scale: (..., C), in units of x.
        slope: (..., C, C), of which the part below the diagonal counts.
        levels: number of levels L.
        validate_args: whether values are checked to be grey levels; None, the default: as Pyro is set.

    Example:
        >>> ChainedLevelLogistic(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 3, 3), levels=256).sample().shape
        torch.Size([2, 3])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
        "slope": constraints.independent(constraints.real, 2),
    }
    batched = {"loc": 1, "scale": 1, "slope": 2}

    def __init__(
        self, loc: Tensor, scale: Tensor, slope: Tensor, levels: int, validate_args: bool | None = None
    ) -> None:
        self.levels = levels
        self.loc, self.scale, self.slope = loc, scale, slope.tril(-1)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """The constraint that values satisfy.

        Returns:
            The grey levels, of each channel.
        """
        return constraints.independent(GreyLevels(self.levels), 1)

    @property
    def mean(self) -> Tensor:
        """An approximate mean, (..., C): of each channel the logistic's at such means of those before, in [0, 1]."""
        x = torch.full_like(self.loc, 0.5)
        for c in range(x.shape[-1]):
            x[..., c] = self._of_channel(x, c).loc.clamp(0, 1)
        return x

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw grey levels, channel by channel.

        Args:
            sample_shape: of independent draws, `()` by default.

        Returns:
            Values (*sample_shape, *batch_shape, C).
        """
        x = self.loc.new_full(self._extended_shape(torch.Size(sample_shape)), 0.5)
        for c in range(x.shape[-1]):
            x[..., c] = self._of_channel(x, c).sample()
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of grey levels, in nats.

        Args:
            value: (..., C), which broadcasts against the batch shape.

        Returns:
            log p(x = value), (...).
        """
        if self._validate_args:
            self._validate_sample(value)
        shift = (self.slope @ (value[..., None] - 0.5)).squeeze(-1)
        log_prob: Tensor = LevelLogistic(self.loc + shift, self.scale, self.levels, validate_args=False).log_prob(value)
        return log_prob.sum(-1)

    def _of_channel(self, x: Tensor, c: int) -> LevelLogistic:
        """p(x_c | x_<c), where the later channels of x have no effect."""
        loc = self.loc[..., c] + (self.slope[..., c, :] * (x - 0.5)).sum(-1)
        return LevelLogistic(loc, self.scale[..., c], self.levels, validate_args=False)


@dataclass(frozen=True)
class LogisticMixture(GreyLevelLikelihood):
    """x ~ sum_k w_k `ChainedLevelLogistic`_k, for the grey levels of the channels of a pixel, event shape (C,).

    The network gives for each of K components a logit, and for each channel a number m, for a mean of 1/2 + m/2, a raw
    log-scale r, for a scale of floor + exp(r)/2, and for each channel before a raw slope s, for a slope of tanh(s).

    Args:
        components: number of components K, 5 by default.
        levels: number of grey levels, 256 by default, as in 8-bit images.
        floor: smallest scale, in the units of the data; 0.0001 by default.

    Raises:
        ValueError: there are fewer than 1 component or 2 levels, or `floor` is not positive.

    Example:
        >>> LogisticMixture(10).size((3,)), LogisticMixture(5).size((1,))
        ((100,), (15,))

    References:
        Salimans, Karpathy, Chen, Kingma 2017, arXiv:1701.05517.
    """

    components: Count = 5
    levels: Count = 256
    floor: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.components < 1:
            raise ValueError(f"LogisticMixture needs at least 1 component, got components={self.components!r}")
        check_positive(self, "floor")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs: logits, means, raw log-scales and raw slopes of all components.

        Args:
            event_shape: (channels,).

        Returns:
            (K (1 + 2 C + C (C - 1) / 2),).

        Raises:
            ValueError: the event shape has another number of dimensions.
        """
        if len(event_shape) != 1:
            raise ValueError(f"LogisticMixture is for the channels of a pixel, (channels,), got {event_shape}")
        channels = event_shape[0]
        return (self.components * (1 + 2 * channels + channels * (channels - 1) // 2),)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        outputs, lead = promote_outputs(outputs, self.size(event_shape), f"LogisticMixture over {event_shape}")
        channels = event_shape[0]
        outputs = outputs.reshape(*lead, self.components, -1)
        logits, mean, raw, slopes = outputs.split([1, channels, channels, channels * (channels - 1) // 2], -1)
        slope = outputs.new_zeros(*lead, self.components, channels, channels)
        row, column = torch.tril_indices(channels, channels, -1)
        slope[..., row, column] = slopes.tanh()
        each = ChainedLevelLogistic(0.5 + mean / 2, self.floor + raw.exp() / 2, slope, self.levels)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits.squeeze(-1)), each)
