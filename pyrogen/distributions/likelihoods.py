"""Families for data: p(x given z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions.discrete.discretized import GreyLevels, LevelCategorical, LevelLogistic
from pyrogen.distributions.family import Family, promote_outputs, stacked_shape, unstack
from pyrogen.nn import Shape, as_shape

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedCategorical",
    "DiscretizedLogistic",
    "Gaussian",
    "SharedScaleGaussian",
]


@dataclass(frozen=True)
class Bernoulli(Family):
    """x_i ~ Bernoulli(1 / (1 + exp(-l_i))), independent, for data of zeros and ones.

    The network gives the logits l, so that log p(x) = x l - log(1 + exp(l)) neither overflows nor loses digits.

    Raises:
        ValueError: by `check`, for values other than 0 and 1.

    Example:
        >>> import torch
        >>> Bernoulli()(torch.zeros(5, 1, 8, 8), (1, 8, 8)).log_prob(torch.ones(1, 8, 8)).shape
        torch.Size([5])
    """

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs."""
        return event_shape

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        (logits,) = unstack(outputs, 1, event_shape, "Bernoulli")
        return dist.Bernoulli(logits=logits).to_event(len(event_shape))

    def check(self, x: Tensor) -> None:
        """Refuse finite values other than 0 and 1; those that are not finite are refused for every story."""
        grey = x[(x != 0) & (x != 1) & x.isfinite()]
        if grey.numel():
            raise ValueError(
                f"'x' holds {grey.numel()} values other than 0 and 1, the first {float(grey[0]):.4g}, and a Bernoulli "
                "likelihood scores none but these: pass binarize='static', 'dynamic' or 'threshold' to "
                "pyrogen.data.load (--binarize), or take another likelihood, such as Gaussian()"
            )


@dataclass(frozen=True)
class Gaussian(Family):
    """x_i ~ N(mean_i, scale_i^2), independent, for continuous data.

    With `scale=None` the network gives the means and, stacked behind them, raw log-scales r; scale = floor + exp(r),
    which is near exp(r) for large r and never below `floor`, so that the density of a datum that the network fits
    exactly cannot grow without bound. With a number, all scales are that number, and the network gives the means alone.

    Args:
        scale: standard deviation, in the units of the data; None: learned for each element and datum.
        floor: smallest learned standard deviation, in the units of the data.

    Raises:
        ValueError: `scale` or `floor` is not positive.

    Example:
        >>> Gaussian().size((3, 32, 32)), Gaussian(scale=0.1).size((3, 32, 32))
        ((6, 32, 32), (3, 32, 32))
    """

    scale: float | None = None
    floor: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("floor", self.floor)):
            if value is not None and not value > 0:
                raise ValueError(f"Gaussian needs a positive {name}, got {name}={value!r}")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs."""
        return stacked_shape(2 if self.scale is None else 1, event_shape)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        mean, *raw = unstack(outputs, 2 if self.scale is None else 1, event_shape, "Gaussian")
        scale = self.floor + raw[0].exp() if self.scale is None else self.scale
        return dist.Normal(mean, scale).to_event(len(event_shape))


@dataclass(eq=False)
class SharedScaleGaussian(nn.Module, Family):
    """x_i ~ N(mean_i, scale_i^2), independent, the learned scales the same for every datum.

    The network gives the means alone. scale = floor + exp(r), r a parameter, which starts at the training data's
    standard deviation.

    Args:
        shape: of the scales: `()` is one for all elements, the event shape one for each, (3, 1, 1) one for each channel
            of an image: any shape that broadcasts against the event's.
        floor: smallest standard deviation, in the units of the data.

    Raises:
        ValueError: `floor` is not positive.

    Example:
        >>> SharedScaleGaussian().size((3, 32, 32))
        (3, 32, 32)
    """

    shape: Shape = ()
    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__init__()
        if not self.floor > 0:
            raise ValueError(f"SharedScaleGaussian needs a positive floor, got floor={self.floor!r}")
        self.shape = as_shape(self.shape)
        self.raw_scale = nn.Parameter(torch.zeros(self.shape))

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs."""
        return event_shape

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        (mean,) = unstack(outputs, 1, event_shape, "SharedScaleGaussian")
        return dist.Normal(mean, self.floor + self.raw_scale.exp()).to_event(len(event_shape))

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Start at the standard deviation of all elements of `x` together."""
        self.raw_scale.fill_(x.std(correction=0).clamp(min=self.floor).log())


class GreyLevelLikelihood(Family):
    """A likelihood of grey levels x in {0, 1/(L-1), ..., 1}; scored as they are, not dequantized."""

    levels: int

    def __post_init__(self) -> None:
        if not self.levels >= 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 levels, got levels={self.levels!r}")

    def check(self, x: Tensor) -> None:
        """Refuse finite values that are no grey level; those that are not finite are refused for every story."""
        off = x[~GreyLevels(self.levels).check(x) & x.isfinite()]
        if off.numel():
            raise ValueError(
                f"'x' holds {off.numel()} values that are none of the {self.levels} grey levels k/{self.levels - 1}, "
                f"the first {float(off[0]):.4g}, and a {type(self).__name__} likelihood scores none but these: leave x "
                "as it was loaded (--binarize none), or set levels to the number that the data have"
            )


@dataclass(frozen=True)
class DiscretizedLogistic(GreyLevelLikelihood):
    """x_i: the grey level nearest to y_i ~ Logistic(mean_i, scale_i), independent, for images.

    The network gives the means and, stacked behind them, raw log-scales r; scale = floor + exp(r). Probabilities sum to
    one over the levels: the first and the last take the tails.

    Args:
        levels: number of grey levels, 256 for 8-bit images.
        floor: smallest scale, in the units of the data.

    Raises:
        ValueError: fewer than 2 levels, or `floor` is not positive; by `check`, values that are no grey level.

    Example:
        >>> DiscretizedLogistic().size((3, 32, 32))
        (6, 32, 32)

    References:
        Kingma et al. 2016, arXiv:1606.04934; Salimans, Karpathy, Chen, Kingma 2017, arXiv:1701.05517.
    """

    levels: int = 256
    floor: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.floor > 0:
            raise ValueError(f"DiscretizedLogistic needs a positive floor, got floor={self.floor!r}")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Means and raw log-scales."""
        return stacked_shape(2, event_shape)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        mean, raw = unstack(outputs, 2, event_shape, "DiscretizedLogistic")
        return LevelLogistic(mean, self.floor + raw.exp(), self.levels).to_event(len(event_shape))


@dataclass(frozen=True)
class DiscretizedCategorical(GreyLevelLikelihood):
    """x_i: a grey level of free probabilities softmax(l_i), independent, for images.

    The network gives the logits, those of the first level for all elements, then those of the second, and so on.

    Args:
        levels: number of grey levels, 256 for 8-bit images.

    Raises:
        ValueError: fewer than 2 levels; by `check`, values that are no grey level.

    Example:
        >>> DiscretizedCategorical().size((3, 32, 32)), DiscretizedCategorical(17).size((1, 8, 8))
        ((768, 32, 32), (17, 8, 8))

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    levels: int = 256

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Logits of every level."""
        return stacked_shape(self.levels, event_shape)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        outputs, lead = promote_outputs(outputs, self.size(event_shape), f"DiscretizedCategorical over {event_shape}")
        logits = outputs.reshape((*lead, self.levels, *event_shape)).movedim(len(lead), -1)
        return LevelCategorical(logits).to_event(len(event_shape))


@dataclass(frozen=True)
class Categorical(Family):
    """x_i ~ DiscretizedCategorical(softmax(l_i)), independent, for symbols without order: int64 from 0 to count - 1.

    The network gives the logits l, those of one symbol for all elements after those of another.

    Args:
        count: number of symbols.

    Raises:
        ValueError: no symbol; by `check`, for numbers that are none.

    Example:
        >>> import torch
        >>> Categorical(27)(torch.zeros(5, 27 * 10), (10,)).log_prob(torch.zeros(5, 10, dtype=torch.int64)).shape
        torch.Size([5])
    """

    count: int
    integer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Categorical needs at least 1 symbol, got count={self.count!r}")

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's outputs."""
        return stacked_shape(self.count, event_shape)

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        logits = torch.stack(unstack(outputs, self.count, event_shape, "Categorical"), -1)
        return dist.Categorical(logits=logits).to_event(len(event_shape))

    def point(self, distribution: dist.TorchDistribution) -> Tensor:
        """The likeliest symbols."""
        inner = distribution.base_dist if isinstance(distribution, dist.Independent) else distribution
        likeliest: Tensor = inner.logits.argmax(-1)
        return likeliest

    def check(self, x: Tensor) -> None:
        """Refuse what is no symbol."""
        if x.is_floating_point() or (x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.count):
            kind = str(x.dtype).removeprefix("torch.")
            span = f"from {x.min()} to {x.max()}" if x.numel() else "no values"
            raise ValueError(f"symbols are whole numbers from 0 to {self.count - 1}, int64; got {kind}, {span}")
