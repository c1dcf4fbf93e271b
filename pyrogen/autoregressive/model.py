"""Autoregressive models of images and other events, unconditional or given labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
from torch import Tensor, nn

from pyrogen.autoregressive.base import AutoregressiveStory
from pyrogen.distributions import AutoregressiveDistribution, Bernoulli, Family, check_outputs
from pyrogen.nn import Label, Shape, as_shape
from pyrogen.story import Labelled


class AutoregressiveModel(AutoregressiveStory):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}), with p(x_i | x_<i) = likelihood(network(x)_i). The guide is empty.

    The network determines the order: that of images is pixel by pixel, and through the channels of each in turn.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        network: from x (batch, *event_shape) to outputs for each element that depend only on those before it:
            `MaskedDense`, `PixelCNN`, `GatedPixelCNN`, `PixelCNNPlusPlus`, `PixelRNN`, `PixelTransformer`, or another
            with their attributes `outputs`, `unit` and `by_pixel`.
        likelihood: family of an element, or of a pixel where the network gives outputs for whole pixels; Bernoulli by
            default.

    Raises:
        ValueError: the number of outputs is not that of the likelihood's parameters.

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
        """p(x).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: there are no latents.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """

    def density(self) -> AutoregressiveDistribution:
        """p(x).

        Returns:
            Batch shape (), event shape `event_shape`.
        """
        return self._density()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly, of many rows in chunks.

        Args:
            x: data, (n, *event_shape).

        Returns:
            (n,) in nats.
        """
        return self._log_prob(x)

    def complete(self, x: Tensor) -> Tensor:
        """Draw the rest of data whose first part is given; an `x` that is no first part is a ValueError.

        Args:
            x: upper part of images, (n, channels, rows, width) with at most as many rows; of other events the first
                elements.

        Returns:
            Data (n, *event_shape), which begin with `x`.
        """
        return self._complete(x)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize the likelihood from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        self.likelihood.prepare(data["x"])


class ConditionalAutoregressiveModel(Labelled, AutoregressiveStory):
    """p(x | y) = prod_i p(x_i | x_<i, y): an `AutoregressiveModel` given a label y, which it does not model.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        network: as that of `AutoregressiveModel`, built with a `context` whose size is the number of classes, or the
            number of elements of a vector y.
        classes: number of classes of y, int64 (n,) from 0 to classes - 1; None, the default, where y is a vector.
        condition: in place of `classes`: length or shape of a vector y, float (n, *condition).
        likelihood: as that of `AutoregressiveModel`; Bernoulli by default.

    Raises:
        ValueError: both or neither of `classes` and `condition` are given, the network's context has another size, or
            the number of outputs is not that of the likelihood's parameters.

    Example:
        >>> from pyrogen.nn import PixelCNN
        >>> story = ConditionalAutoregressiveModel((1, 6, 6), PixelCNN((1, 6, 6), width=4, blocks=1, context=3), 3)
        >>> story.sample(5, y=2).shape
        torch.Size([5, 1, 6, 6])

    References:
        van den Oord et al. 2016, arXiv:1606.05328.
    """

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
                f"{self.name} has labels of {self.label.size} numbers, and {type(network).__name__} takes a context of "
                f"{network.context}: build it with context={self.label.size}"
            )

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:
        """p(x | y).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            y: labels, (n,) int64, or vectors (n, *condition).
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """Empty: there are no latents.

        Args:
            x: data, (n, *event_shape).
            y: labels, (n,) int64, or vectors (n, *condition).
            n: number of rows.
        """

    def density(self, y: Tensor) -> AutoregressiveDistribution:
        """p(x | y).

        Args:
            y: labels, (n,) int64, or vectors (n, *condition).

        Returns:
            Batch shape (n,), event shape `event_shape`.
        """
        return self._density(context=self.label(y))

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | y), exactly, of many rows in chunks.

        Args:
            x: data, (n, *event_shape).
            y: labels, (n,) int64, or vectors (n, *condition).

        Returns:
            (n,) in nats.
        """
        return self._log_prob(x, y)

    def complete(self, x: Tensor, y: Any) -> Tensor:
        """Draw the rest of data whose first part is given; an `x` that is no first part is a ValueError.

        Args:
            x: upper part of images, (n, channels, rows, width) with at most as many rows; of other events the first
                elements.
            y: labels, one for each row or one for all.

        Returns:
            Data (n, *event_shape), which begin with `x`.
        """
        return self._complete(x, self.label.checked(self.name, y, len(x)))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize the likelihood from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        self.likelihood.prepare(data["x"])
