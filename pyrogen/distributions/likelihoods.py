"""Families for data: p(x | z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.distributions.family import Family, check_positive, unstack
from pyrogen.nn import Shape, as_shape


@dataclass(frozen=True)
class Bernoulli(Family):
    """x_i ~ Bernoulli(1 / (1 + exp(-l_i))), independent, for data of zeros and ones.

    The network gives the logits l, so that log p(x) = x l - log(1 + exp(l)) neither overflows nor loses digits.

    Example:
        >>> import torch
        >>> Bernoulli()(torch.zeros(5, 1, 8, 8), (1, 8, 8)).log_prob(torch.ones(1, 8, 8)).shape
        torch.Size([5])
    """

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        (logits,) = unstack(outputs, 1, event_shape, "Bernoulli")
        return dist.Bernoulli(logits=logits).to_event(len(event_shape))

    def check(self, x: Tensor) -> None:
        """Check that finite values are 0 or 1; non-finite ones are refused for every story.

        Args:
            x: data of any shape.

        Raises:
            ValueError: there are other values.
        """
        grey = x[(x != 0) & (x != 1) & x.isfinite()]
        if grey.numel():
            raise ValueError(
                f"Bernoulli has support {{0, 1}}, but 'x' has {grey.numel()} other values (first: "
                f"{float(grey[0]):.4g}): pass binarize='static', 'dynamic' or 'threshold' to pyrogen.data.load "
                "(--binarize), or use another likelihood, such as Gaussian()"
            )


@dataclass(frozen=True)
class Gaussian(Family):
    """x_i ~ N(mean_i, scale_i^2), independent, for continuous data.

    With `scale=None` the network gives the means and, stacked behind them, raw log-scales r; scale = floor + exp(r),
    which is near exp(r) for large r and never below `floor`, so that the density of a datum that the network fits
    exactly cannot grow without bound. With a number, all scales are that number, and the network gives the means alone.

    Args:
        scale: standard deviation, in the units of the data; None, the default: learned for each element and datum.
        floor: smallest learned standard deviation, in the units of the data; 0.001 by default.

    Raises:
        ValueError: `scale` or `floor` is not positive.

    Example:
        >>> Gaussian().size((3, 32, 32)), Gaussian(scale=0.1).size((3, 32, 32))
        ((6, 32, 32), (3, 32, 32))
    """

    scale: float | None = None
    floor: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(self, "scale", "floor")

    @property
    def params_per_element(self) -> int:
        """Means and, where they are learned, raw log-scales."""
        return 2 if self.scale is None else 1

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """The normal of these means and scales."""
        mean, *raw = unstack(outputs, self.params_per_element, event_shape, type(self).__name__)
        scale = self._learned_scale(raw[0]) if self.scale is None else self.scale
        return dist.Normal(mean, scale).to_event(len(event_shape))

    def _learned_scale(self, r: Tensor) -> Tensor:
        return self.floor + r.exp()


@dataclass(eq=False)
class SharedScaleGaussian(nn.Module, Family):
    """x_i ~ N(mean_i, scale_i^2), independent, the learned scales the same for every datum.

    The network gives the means alone. scale = floor + exp(r), r a parameter, which starts at the training data's
    standard deviation.

    Args:
        shape: of the scales, which broadcasts against an event: `()`, the default, is one scale for all elements, the
            event shape one for each, (3, 1, 1) one for each channel of an image.
        floor: smallest standard deviation, in the units of the data; 0.001 by default.

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
        check_positive(self, "floor")
        self.shape = as_shape(self.shape)
        self.raw_scale = nn.Parameter(torch.zeros(self.shape))

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """The distribution p(x | outputs).

        Args:
            outputs: means (..., *event_shape).
            event_shape: shape of one datum.

        Returns:
            A distribution of batch shape (...).
        """
        (mean,) = unstack(outputs, 1, event_shape, "SharedScaleGaussian")
        return dist.Normal(mean, self.floor + self.raw_scale.exp()).to_event(len(event_shape))

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Set every scale to the standard deviation of all elements together.

        Args:
            x: training data (n, *event_shape).
        """
        self.raw_scale.fill_(x.std(correction=0).clamp(min=self.floor).log())


@dataclass(frozen=True)
class Categorical(Family):
    """x_i ~ Categorical(softmax(l_i)), independent, for symbols without order: int64 from 0 to count - 1.

    The network gives the logits l, those of one symbol for all elements after those of another.

    Args:
        count: number of symbols.

    Raises:
        ValueError: `count` is below 1.

    Example:
        >>> import torch
        >>> Categorical(27)(torch.zeros(5, 27 * 10), (10,)).log_prob(torch.zeros(5, 10, dtype=torch.int64)).shape
        torch.Size([5])
    """

    count: Count
    integer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Categorical needs at least 1 symbol, got count={self.count!r}")

    @property
    def params_per_element(self) -> int:
        """A logit of every symbol."""
        return self.count

    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
        """p(x | outputs)."""
        logits = torch.stack(unstack(outputs, self.count, event_shape, "Categorical"), -1)
        return dist.Categorical(logits=logits).to_event(len(event_shape))

    def point(self, distribution: dist.TorchDistribution) -> Tensor:
        """The most probable symbols.

        Args:
            distribution: one that the family made.

        Returns:
            int64 (*batch_shape, *event_shape).
        """
        inner = distribution.base_dist if isinstance(distribution, dist.Independent) else distribution
        return inner.logits.argmax(-1)

    def check(self, x: Tensor) -> None:
        """Check that values are symbols.

        Args:
            x: data of any shape.

        Raises:
            ValueError: values are not whole numbers, or out of range.
        """
        if x.is_floating_point() or (x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.count):
            kind = str(x.dtype).removeprefix("torch.")
            span = f"from {x.min()} to {x.max()}" if x.numel() else "no values"
            raise ValueError(f"symbols are whole numbers from 0 to {self.count - 1}, int64; got {kind}, {span}")
