"""Families for images of grey levels: p(x | z) over x in {0, 1/(L-1), ..., 1}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrogen.annotations import Count
from pyrogen.distributions.discrete.discretized import GreyLevels, LevelCategorical, LevelLogistic
from pyrogen.distributions.family import Family, check_positive, promote_outputs, unstack


class GreyLevelLikelihood(Family):
    """A likelihood of grey levels x in {0, 1/(L-1), ..., 1}, which are scored without dequantization."""

    levels: Count

    def __post_init__(self) -> None:
        if not self.levels >= 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 levels, got levels={self.levels!r}")

    def check(self, x: Tensor) -> None:
        """Check that finite values are grey levels; non-finite ones are refused for every story.

        Args:
            x: data of any shape.

        Raises:
            ValueError: there are other values.
        """
        off = x[~GreyLevels(self.levels).check(x) & x.isfinite()]
        if off.numel():
            raise ValueError(
                f"{type(self).__name__} has as its support the {self.levels} grey levels k/{self.levels - 1}, but 'x' "
                f"has {off.numel()} other values (first: {float(off[0]):.4g}): leave x as it was loaded (--binarize "
                "none), or set levels to the number of grey levels in the data"
            )


@dataclass(frozen=True)
class DiscretizedLogistic(GreyLevelLikelihood):
    """x_i: the grey level nearest to y_i ~ Logistic(mean_i, scale_i), independent, for images.

    The network gives the means and, stacked behind them, raw log-scales r; scale = floor + exp(r). Probabilities sum to
    one over the levels: the first and the last take the tails.

    Args:
        levels: number of grey levels, 256 by default, as in 8-bit images.
        floor: smallest scale, in the units of the data; 0.0001 by default.

    Raises:
        ValueError: there are fewer than 2 levels, or `floor` is not positive.

    Example:
        >>> DiscretizedLogistic().size((3, 32, 32))
        (6, 32, 32)

    References:
        Kingma et al. 2016, arXiv:1606.04934; Salimans, Karpathy, Chen, Kingma 2017, arXiv:1701.05517.
    """

    params_per_element: ClassVar[int] = 2
    """Means and raw log-scales."""

    levels: Count = 256
    floor: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "floor")

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        mean, raw = unstack(outputs, 2, event_shape, "DiscretizedLogistic")
        return LevelLogistic(mean, self.floor + raw.exp(), self.levels).to_event(len(event_shape))


@dataclass(frozen=True)
class DiscretizedCategorical(GreyLevelLikelihood):
    """x_i: a grey level of free probabilities softmax(l_i), independent, for images.

    The network gives the logits, those of the first level for all elements, then those of the second, and so on.

    Args:
        levels: number of grey levels, 256 by default, as in 8-bit images.

    Raises:
        ValueError: there are fewer than 2 levels.

    Example:
        >>> DiscretizedCategorical().size((3, 32, 32)), DiscretizedCategorical(17).size((1, 8, 8))
        ((768, 32, 32), (17, 8, 8))

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    levels: Count = 256

    @property
    def params_per_element(self) -> int:
        """A logit of every level."""
        return self.levels

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        outputs, lead = promote_outputs(outputs, self.size(event_shape), f"DiscretizedCategorical over {event_shape}")
        logits = outputs.reshape((*lead, self.levels, *event_shape)).movedim(len(lead), -1)
        return LevelCategorical(logits).to_event(len(event_shape))
