"""Distributions of grey levels: probabilities of x in {0, 1/(L-1), ..., 1}, which sum to 1 over the L levels."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from pyrogen.distributions.expandable import ExpandableDistribution


class GreyLevels(constraints.Constraint):
    """The values k / (levels - 1), k = 0, ..., levels - 1, as rounded in float32.

    Args:
        levels: number of grey levels L, 256 for 8-bit images.

    Example:
        >>> GreyLevels(5).check(torch.tensor([0.0, 0.25, 0.3, 1.25]))
        tensor([ True,  True, False, False])
    """

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is a grey level.

        Args:
            value: numbers of any shape.

        Returns:
            Booleans of the same shape.
        """
        level = value * (self.levels - 1)
        return (value >= 0) & (value <= 1) & ((level - level.round()).abs() < 1e-2)

    def __repr__(self) -> str:
        return f"grey levels k/{self.levels - 1}"


class LevelCategorical(ExpandableDistribution):
    """p(x = k / (L - 1)) = softmax(logits)_k, free probabilities for each of the L levels.

    Args:
        logits: (..., L).
        validate_args: whether values are checked to be grey levels; None, the default: as Pyro is set.

    Example:
        >>> LevelCategorical(torch.zeros(5)).log_prob(torch.tensor([0.25, 1.0])).exp()
        tensor([0.2000, 0.2000])
    """

    arg_constraints = {"logits": constraints.real_vector}
    batched = {"logits": 1}

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.levels = logits.shape[-1]
        self.logits = logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The constraint that values satisfy.

        Returns:
            The grey levels.
        """
        return GreyLevels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The mean, (*batch_shape)."""
        return (self.logits.exp() * torch.arange(self.levels, device=self.logits.device)).sum(-1) / (self.levels - 1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw grey levels.

        Args:
            sample_shape: of independent draws, `()` by default.

        Returns:
            Values (*sample_shape, *batch_shape).
        """
        level = dist.Categorical(logits=self.logits, validate_args=False).sample(torch.Size(sample_shape))
        return level.to(self.logits.dtype) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of grey levels, in nats.

        Args:
            value: grey levels, which broadcast against the batch shape.

        Returns:
            log p(x = value), of the broadcast shape.
        """
        if self._validate_args:
            self._validate_sample(value)
        level = (value * (self.levels - 1)).round().long().unsqueeze(-1)
        level, logits = torch.broadcast_tensors(level, self.logits)
        return logits.gather(-1, level[..., :1]).squeeze(-1)


class LevelLogistic(ExpandableDistribution):
    """The grey level nearest to y ~ Logistic(loc, scale); the first and the last take the tails.

    p(x = k / (L - 1)) = sigmoid(b) - sigmoid(a), between the edges a and b of the level's bin in units of the scale,
    computed as log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)): no difference of close numbers, so that it is
    accurate however far x lies from `loc`.

    Args:
        loc: (...), in units of x.
        scale: (...), in units of x.
        levels: number of levels L.
        validate_args: whether values are checked to be grey levels; None, the default: as Pyro is set.

    Example:
        >>> x = LevelLogistic(torch.tensor(0.3), torch.tensor(0.1), levels=256)
        >>> x.log_prob(torch.arange(256) / 255).logsumexp(0).abs() < 1e-5
        tensor(True)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    batched = {"loc": 0, "scale": 0}

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.levels = levels
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The constraint that values satisfy.

        Returns:
            The grey levels.
        """
        return GreyLevels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The mean, (...): the sum over levels k > 0 of the probability of k or more."""
        last = self.levels - 1
        edges = [(level + 0.5) / last for level in range(last)]
        return sum((((self.loc - edge) / self.scale).sigmoid() for edge in edges), torch.zeros_like(self.loc)) / last

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw grey levels.

        Args:
            sample_shape: of independent draws, `()` by default.

        Returns:
            Values (*sample_shape, *batch_shape).
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        level = ((self.loc + self.scale * uniform.logit()) * (self.levels - 1)).round()
        return level.clamp(0, self.levels - 1) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of grey levels, in nats.

        Args:
            value: grey levels, which broadcast against the batch shape.

        Returns:
            log p(x = value), of the broadcast shape.
        """
        if self._validate_args:
            self._validate_sample(value)
        last = self.levels - 1
        level = (value * last).round()
        centre, half = (level / last - self.loc) / self.scale, 0.5 / (last * self.scale)
        below, above = logsigmoid(centre + half), logsigmoid(half - centre)
        between = below + above + (-torch.expm1(-2 * half)).log()
        return torch.where(level <= 0, below, torch.where(level >= last, above, between))
