"""Bases of stories whose column `x` has one event shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pyrogen.story import Story, check_event


class EventStory(Story):
    """A story of a column `x` whose rows all have the shape `event_shape`, which the constructor of a subclass sets.

    Where a subclass has a `likelihood`, it decides which values of x are allowed.
    """

    event_shape: tuple[int, ...]
    floating: bool = False
    """Whether x must be floating; with a likelihood, the likelihood decides."""

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or with values that have no density under the likelihood.

        Args:
            data: the columns by name, among them `x`, (n, *event_shape).
        """
        likelihood: Any = getattr(self, "likelihood", None)
        integer = (False if self.floating else None) if likelihood is None else likelihood.integer
        check_event(self.name, "event_shape", data, self.event_shape, integer)
        if likelihood is not None:
            likelihood.check(data["x"])


class EncoderDecoderStory(EventStory):
    """A story with `encode(x)`, a distribution of latents, and `decode(z)`, data or a distribution of them."""

    encode: Callable[..., Any]
    decode: Callable[..., Any]

    def reconstruct(self, x: Tensor) -> Tensor:
        """The data, or their mean, at the mean of the latents.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., *event_shape).
        """
        with self.predicting():
            decoded = self.decode(self.encode(x.to(self.device)).mean)
            return decoded if isinstance(decoded, Tensor) else decoded.mean


class ProjectionStory(EncoderDecoderStory):
    """A story that only encodes and decodes: it declares `density` and `guide` unsupported."""

    def model(self, x: Tensor | None, n: int) -> None:
        """Refused: there is no model.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        self.require("density")

    def guide(self, x: Tensor, n: int) -> None:
        """Refused: there is no guide.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        self.require("guide")
