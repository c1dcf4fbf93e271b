"""Normalizing flows as stories: data by a change of variables, of themselves or given labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrogen.distributions import Base, Coupling, MultiScale, NormalizingFlow, Transforms
from pyrogen.nn import Label, Shape, as_shape, batch_shape
from pyrogen.story import Labelled, Story, check_event

__all__ = ["ConditionalFlow", "Flow"]

_WITHOUT = {"guide": "it has no latents: x is the transform of a base that it determines"}
_NUMBERS = 2**20
"""Numbers of data that are scored at once."""


class Flow(Story):
    """x = f(z),  z ~ base:  log p(x) = log p(f^-1(x)) + log |det df^-1/dx|, exactly. There is nothing to guide.

    Args:
        event_shape: shape of one datum, such as (2,), (1, 28, 28) or () for one number.
        transforms: f, or its parts in order, from z to x: definitions such as `Coupling()`, `Autoregressive()`,
            `MultiScale()` and `Logit()`, and any transform of Pyro or torch. None: `MultiScale` for images of even
            height and width, else `Coupling`.
        base: p(z), a distribution or a `Prior`; a distribution of one number is taken for each number of z. None:
            standard normal.

    Raises:
        TypeError: a part is no transform.
        ValueError: the parts do not give events of `event_shape`, or one has no inverse; by `check`, x of another
            shape, of whole numbers, or where no z leads; by `prepare`, values that repeat.

    Example:
        >>> import pyro.distributions as dist
        >>> from pyro.distributions.transforms import AffineTransform, ExpTransform
        >>> minus_log = [ExpTransform().inv, AffineTransform(0.0, -1.0)]
        >>> Flow((), minus_log, base=dist.Uniform(0.0, 1.0)).log_prob(torch.tensor([0.5, 2.0]))
        tensor([-0.5000, -2.0000])

    References:
        Rezende, Mohamed 2015, arXiv:1505.05770; Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803.
    """

    unsupported = _WITHOUT

    def __init__(self, event_shape: Shape, transforms: Transforms | None = None, base: Base | None = None) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.flow = NormalizingFlow(self.event_shape, _default(transforms, self.event_shape), base)
        self.flow.check_invertible()

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(x)."""
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: there are no latents."""

    def density(self) -> TorchDistribution:
        """p(x), event shape that of the datum."""
        density: TorchDistribution = self.flow()
        return density

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly, (...) in nats, for `x` (..., *event_shape); many rows are taken some at a time."""
        lead = batch_shape(x, self.event_shape, self.name)
        return _in_parts(self, x.reshape(math.prod(lead), *self.event_shape)).reshape(lead)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the layers start from the training data, and refuse values that repeat."""
        self.flow.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, of whole numbers, or out of the transforms' reach."""
        check_event(self.name, "event_shape", data, self.event_shape)
        self.flow.check(data["x"])


class ConditionalFlow(Labelled):
    """x = f(z; y),  z ~ base:  log p(x | y) = log p(z) + log |det dz/dx| at z = f^-1(x; y), exactly.

    Every layer that has a network is told y beside its other inputs, and Pyro's conditional transforms are conditioned
    on it. How likely each y is, is no part of the story.

    Args:
        event_shape: shape of one datum.
        classes: y is one of so many classes, int64 (n,).
        condition: in place of `classes`: y is a vector of so many numbers, or of that shape, float (n, *condition).
        transforms: as those of `Flow`.
        base: as that of `Flow`.

    Raises:
        TypeError: a part is no transform.
        ValueError: both or neither of `classes` and `condition`; the parts do not give events of `event_shape`, or one
            has no inverse; by `check`, x or y of another shape, x of whole numbers or where no z leads, or a y that is
            none of the classes; by `prepare`, values of x that repeat.

    Example:
        >>> story = ConditionalFlow((1, 8, 8), classes=10)
        >>> story.log_prob(story.sample(5, y=3), torch.full((5,), 3)).shape
        torch.Size([5])

    References:
        Winkler, Worrall, Hoogeboom, Welling 2019, arXiv:1912.00042.
    """

    unsupported = _WITHOUT

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
        """p(x | y)."""
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """Empty: there are no latents."""

    def density(self, y: Tensor) -> TorchDistribution:
        """p(x | y), event shape that of the datum; `y` (...)."""
        density: TorchDistribution = self.flow(self.label(y))
        return density

    def log_prob(self, x: Tensor, y: Any) -> Tensor:
        """log p(x | y), exactly, (n,) in nats, for `x` (n, *event_shape) and labels `y`: one for each, or one for all.

        Raises:
            ValueError: a y that is no label, or not so many as rows.
        """
        check_event(self.name, "event_shape", {"x": x}, self.event_shape)
        return _in_parts(self, x, self.label.checked(self.name, y, len(x)))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the layers start from the training data, and refuse values of x that repeat."""
        self.flow.prepare(data["x"], self.label(data["y"]))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, of whole numbers or out of the transforms' reach, and a y no label."""
        check_event(self.name, "event_shape", data, self.event_shape)
        self.flow.check(data["x"])
        super().check(data)


def _default(transforms: Transforms | None, event_shape: tuple[int, ...]) -> Transforms:
    if transforms is not None:
        return transforms
    return MultiScale() if MultiScale.supports(event_shape) else Coupling()


def _in_parts(story: Flow | ConditionalFlow, x: Tensor, *labels: Tensor) -> Tensor:
    """log p(x) of rows (n, *event_shape), or given their labels, some at a time, on the story's device."""
    if not len(x):
        return x.new_zeros(0)
    rows = max(1, _NUMBERS // math.prod(story.event_shape))
    parts = zip(*(column.to(story.device).split(rows) for column in (x, *labels)), strict=True)
    return torch.cat([story.density(*label).log_prob(part) for part, *label in parts])
