"""Autoregressive models of images and other events, of themselves or given labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyrogen.distributions import AutoregressiveDistribution, Bernoulli, Family, check_outputs
from pyrogen.nn import Label, Shape, as_shape
from pyrogen.story import Labelled, Story, check_event

__all__ = ["AutoregressiveModel", "ConditionalAutoregressiveModel"]

UNSUPPORTED = {"guide": "it has no latents: each element is told of those before, and nothing is hidden"}
NUMBERS = 2**16
"""Numbers of data that are scored at once."""


class AutoregressiveModel(Story):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}), with p(x_i | x_<i) = likelihood(network(x)_i). Nothing is to be guided.

    The network says in what order: those of images go pixel by pixel, and through the channels of each in turn.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        network: from x (rows, *event_shape) to outputs for each element that depend on those before alone:
            `MaskedDense`, `PixelCNN`, `GatedPixelCNN`, `PixelCNNPlusPlus`, `PixelRNN`, `PixelTransformer`, or another
            with their attributes `outputs`, `unit` and `by_pixel`.
        likelihood: family of an element; of a pixel, where the network gives outputs for whole pixels.

    Raises:
        ValueError: the network's outputs are not those of the likelihood; by `check`, x has another event shape, or no
            density.

    Example:
        >>> from pyrogen.nn import GatedPixelCNN
        >>> story = AutoregressiveModel((1, 6, 6), GatedPixelCNN((1, 6, 6), width=8, blocks=2))
        >>> x = story.sample(5)
        >>> story.log_prob(x).shape, story.complete(x[:, :, :3]).shape
        (torch.Size([5]), torch.Size([5, 1, 6, 6]))

    References:
        Larochelle, Murray 2011, "The neural autoregressive distribution estimator", AISTATS; van den Oord,
        Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    unsupported = UNSUPPORTED

    def __init__(
        self,
        event_shape: Shape,
        network: nn.Module,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.event_shape, self.network, self.likelihood = as_shape(event_shape), network, likelihood
        check_outputs(network, likelihood)

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(x)."""
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: there are no latents."""

    def density(self) -> AutoregressiveDistribution:
        """p(x)."""
        return _density(self)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly, (n,) in nats, for `x` (n, *event_shape); many rows are taken some at a time."""
        return torch.cat([self.density().log_prob(part) for part in x.split(_rows(self.event_shape))])

    def complete(self, x: Tensor) -> Tensor:
        """Draw the rest of data of which the first part is given.

        Args:
            x: (n, channels, rows given, width), the upper part of images; of other events the first elements.

        Returns:
            (n, *event_shape), which begin with `x`.

        Raises:
            ValueError: `x` is no first part of a datum.
        """
        _check_part(self, x)
        with self.predicting():
            density, x = self.density(), x.to(self.device)
            return density.sample((len(x),), prefix=density.elements(x))

    def beginning(self, x: Tensor, part: float = 0.5) -> Tensor:
        """The first part of data `x` (n, *event_shape), for `complete`."""
        return _beginning(self, x, part)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the likelihood start from the training data."""
        self.likelihood.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or without a density."""
        check_event(self.name, "event_shape", data, self.event_shape)
        self.likelihood.check(data["x"])


class ConditionalAutoregressiveModel(Labelled):
    """p(x | y) = prod_i p(x_i | x_<i, y): an `AutoregressiveModel` given a label y.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        network: as `AutoregressiveModel`'s, built with a `context` of as many numbers as there are classes, or numbers
            in y.
        classes: y is one of so many classes, int64 (n,).
        condition: in place of `classes`: y is a vector of so many numbers, or of that shape, float (n, *condition).
        likelihood: as `AutoregressiveModel`'s.

    Raises:
        ValueError: both or neither of `classes` and `condition`; a network of another context, or of outputs that are
            not those of the likelihood; by `check`, x or y has another shape, x no density, or y is none of the
            classes.

    Example:
        >>> from pyrogen.nn import PixelCNN
        >>> story = ConditionalAutoregressiveModel((1, 6, 6), PixelCNN((1, 6, 6), width=4, blocks=1, context=3), 3)
        >>> story.sample(5, y=2).shape
        torch.Size([5, 1, 6, 6])

    References:
        van den Oord et al. 2016, arXiv:1606.05328.
    """

    unsupported = UNSUPPORTED

    def __init__(
        self,
        event_shape: Shape,
        network: nn.Module,
        classes: int | None = None,
        condition: Shape | None = None,
        *,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.event_shape, self.network, self.likelihood = as_shape(event_shape), network, likelihood
        self.label, self.classes = Label(classes, condition), classes
        check_outputs(network, likelihood)
        if network.context != self.label.size:
            raise ValueError(
                f"{self.name} tells the network of {self.label.size} numbers, and {type(network).__name__} takes "
                f"{network.context}: build it with context={self.label.size}"
            )

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:
        """p(x | y)."""
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """Empty: there are no latents."""

    def density(self, y: Tensor) -> AutoregressiveDistribution:
        """p(x | y) for `y` (n, ...)."""
        return _density(self, context=self.label(y))

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | y), exactly, (n,) in nats, for `x` (n, *event_shape) and labels `y` (n, ...)."""
        parts = zip(x.split(_rows(self.event_shape)), y.split(_rows(self.event_shape)), strict=True)
        return torch.cat([self.density(label).log_prob(part) for part, label in parts])

    def complete(self, x: Tensor, y: Any) -> Tensor:
        """Draw the rest of data of which the first part is given: `AutoregressiveModel.complete`, given labels."""
        _check_part(self, x)
        y = self.label.checked(self.name, y, len(x)).to(self.device)
        with self.predicting():
            density, x = self.density(y), x.to(self.device)
            return density.sample(prefix=density.elements(x))

    def beginning(self, x: Tensor, part: float = 0.5) -> Tensor:
        """The first part of data `x` (n, *event_shape), for `complete`."""
        return _beginning(self, x, part)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the likelihood start from the training data."""
        self.likelihood.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or without a density, and a y that is no label."""
        check_event(self.name, "event_shape", data, self.event_shape)
        self.likelihood.check(data["x"])
        super().check(data)


def _density(story: Any, **told: Any) -> AutoregressiveDistribution:
    order = {"unit": story.network.unit, "by_pixel": story.network.by_pixel}
    return AutoregressiveDistribution(story.network, story.likelihood, story.event_shape, **order, **told)


def _rows(event_shape: tuple[int, ...]) -> int:
    return max(1, NUMBERS // math.prod(event_shape))


def _along(story: Any) -> int:
    """The dimension of an event that the order of its elements runs through last."""
    return 1 if story.network.by_pixel else next((i for i, size in enumerate(story.event_shape) if size > 1), 0)


def _beginning(story: Any, x: Tensor, part: float) -> Tensor:
    along = _along(story)
    return x.narrow(1 + along, 0, max(1, round(part * story.event_shape[along])))


def _check_part(story: Any, x: Tensor) -> None:
    """Refuse what does not begin a datum: whole but in one dimension, that which the order runs through last."""
    event, part = story.event_shape, tuple(x.shape[1:])
    along = _along(story)
    whole = [size for i, size in enumerate(part) if i != along] == [s for i, s in enumerate(event) if i != along]
    if len(part) != len(event) or not whole or part[along] > event[along]:
        expected = ", ".join(["n", *(f"up to {size}" if i == along else str(size) for i, size in enumerate(event))])
        raise ValueError(f"{story.name} completes x of shape ({expected}), got {tuple(x.shape)}")
