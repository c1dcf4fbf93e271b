"""Normalizing flows as stories: densities by a change of variables, unconditional or given labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrogen.distributions import Base, Coupling, MultiScale, NormalizingFlow, Transforms
from pyrogen.models.event_story import EventStory
from pyrogen.nn import Label, Shape, as_shape, batch_shape
from pyrogen.story import Labelled, check_event

_UNSUPPORTED = {"guide": "it has no latents: x and the base variable z determine each other"}
MAX_ELEMENTS = 2**20
"""Numbers of data in a chunk that is scored at once."""


class Flow(EventStory):
    """x = f(z),  z ~ base:  log p(x) = log p(f^-1(x)) + log |det df^-1/dx|, exactly. The guide is empty.

    Args:
        event_shape: shape of one datum, such as (2,), (1, 28, 28) or () for one number.
        transforms: f, or its parts in order, from z to x: definitions such as `Coupling()`, `Autoregressive()`,
            `MultiScale()` and `Logit()`, and any transform of Pyro or torch; by default `MultiScale()` for images of
            even height and width, else `Coupling()`.
        base: p(z), a distribution or a `Prior`; a univariate distribution is used for each number of z. Standard normal
            by default.

    Raises:
        TypeError: a part is not a transform.
        ValueError: the parts do not give events of `event_shape`, or one has no inverse.

    Example:
        >>> import pyro.distributions as dist
        >>> from pyro.distributions.transforms import AffineTransform, ExpTransform
        >>> minus_log = [ExpTransform().inv, AffineTransform(0.0, -1.0)]
        >>> Flow((), minus_log, base=dist.Uniform(0.0, 1.0)).log_prob(torch.tensor([0.5, 2.0]))
        tensor([-0.5000, -2.0000])

    References:
        Rezende, Mohamed 2015, arXiv:1505.05770; Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803.
    """

    unsupported = _UNSUPPORTED

    def __init__(self, event_shape: Shape, transforms: Transforms | None = None, base: Base | None = None) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.flow = NormalizingFlow(self.event_shape, _default(transforms, self.event_shape), base)
        self.flow.check_invertible()

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

    def density(self) -> TorchDistribution:
        """p(x).

        Returns:
            Batch shape (), event shape `event_shape`.
        """
        return self.flow()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly, of many rows in chunks.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        lead = batch_shape(x, self.event_shape, self.name)
        return _log_prob_in_chunks(self, x.reshape(math.prod(lead), *self.event_shape)).reshape(lead)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize the layers from the training data, and refuse repeated values, whose density has no bound.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        self.flow.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, of whole numbers, or outside the range of the transforms.

        Args:
            data: the columns by name, among them `x`, (n, *event_shape).
        """
        super().check(data)
        self.flow.check(data["x"])


class ConditionalFlow(Labelled, EventStory):
    """x = f(z; y),  z ~ base:  log p(x | y) = log p(z) + log |det dz/dx| at z = f^-1(x; y), exactly.

    The network of every layer takes y as a further input, and Pyro's conditional transforms are conditioned on it. The
    story does not model y.

    Args:
        event_shape: shape of one datum.
        classes: number of classes of y, int64 (n,) from 0 to classes - 1.
        condition: in place of `classes`: length or shape of a vector y, float (n, *condition).
        transforms: as those of `Flow`.
        base: as that of `Flow`.

    Raises:
        TypeError: a part is not a transform.
        ValueError: both or neither of `classes` and `condition` is given; or the parts do not give events of
            `event_shape`, or one has no inverse.

    Example:
        >>> story = ConditionalFlow((1, 8, 8), classes=10)
        >>> story.log_prob(story.sample(5, y=3), torch.full((5,), 3)).shape
        torch.Size([5])

    References:
        Winkler, Worrall, Hoogeboom, Welling 2019, arXiv:1912.00042.
    """

    unsupported = _UNSUPPORTED

    def __init__(
        self,
        event_shape: Shape,
        classes: int | None = None,
        condition: Shape | None = None,
        *,
        transforms: Transforms | None = None,
        base: Base | None = None,
    ) -> None:
        super().__init__()
        self.event_shape, self.label, self.classes = as_shape(event_shape), Label(classes, condition), classes
        definitions = _default(transforms, self.event_shape)
        self.flow = NormalizingFlow(self.event_shape, definitions, base, self.label.size)
        self.flow.check_invertible(self.label.eye[0])

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

    def density(self, y: Tensor) -> TorchDistribution:
        """p(x | y).

        Args:
            y: labels, (...) int64, or vectors (..., *condition).

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        return self.flow(self.label(y))

    def log_prob(self, x: Tensor, y: Any) -> Tensor:
        """log p(x | y), exactly, of many rows in chunks.

        Args:
            x: data, (n, *event_shape).
            y: their labels, one for each or one for all.

        Returns:
            (n,) in nats.
        """
        check_event(self.name, "event_shape", {"x": x}, self.event_shape)
        return _log_prob_in_chunks(self, x, self.label.checked(self.name, y, len(x)))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize the layers from the training data, and refuse repeated values of x, whose density has no bound.

        Args:
            data: the training columns, `x` (N, *event_shape) and `y` (N,) or (N, *condition).
        """
        self.flow.prepare(data["x"], self.label(data["y"]))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x as `Flow.check` does, and a y that is not a valid label.

        Args:
            data: the columns by name: `x`, (n, *event_shape), and `y`, (n,) int64 or (n, *condition).
        """
        super().check(data)
        self.flow.check(data["x"])


def _default(transforms: Transforms | None, event_shape: tuple[int, ...]) -> Transforms:
    if transforms is not None:
        return transforms
    return MultiScale() if MultiScale.supports(event_shape) else Coupling()


def _log_prob_in_chunks(story: Flow | ConditionalFlow, x: Tensor, *labels: Tensor) -> Tensor:
    """log p(x) of rows (n, *event_shape), or log p(x | y) given labels, in chunks, on the story's device."""
    if not len(x):
        return x.new_zeros(0)
    rows = max(1, MAX_ELEMENTS // math.prod(story.event_shape))
    chunks = zip(*(column.to(story.device).split(rows) for column in (x, *labels)), strict=True)
    return torch.cat([story.density(*label).log_prob(chunk) for chunk, *label in chunks])
