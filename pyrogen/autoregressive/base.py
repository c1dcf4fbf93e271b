"""The base of autoregressive stories: densities, chunks of data, and completion of data whose first part is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyrogen.distributions import AutoregressiveDistribution, Family
from pyrogen.story import Story, check_event

_MAX_ELEMENTS = 2**16
"""Elements of data that are scored at once."""


class AutoregressiveStory(Story):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}), p(x_i | x_<i) = likelihood(network(x)_i); `density` gives it.

    The constructor of a subclass sets `event_shape`, `network` and `likelihood`.
    """

    unsupported = {"guide": "it has no latents: each element depends on those before it, all of which are observed"}

    event_shape: tuple[int, ...]
    network: Any
    likelihood: Family
    density: Callable[..., AutoregressiveDistribution]

    def beginning(self, x: Tensor, part: float = 0.5) -> Tensor:
        """Take the first part of data, for `complete`.

        Args:
            x: data of shape (n, *event_shape).
            part: share of each datum, 0.5 by default.

        Returns:
            The upper rows of images, and the first elements of other events.
        """
        dim = self._last_dim()
        return x.narrow(1 + dim, 0, max(1, round(part * self.event_shape[dim])))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or with values that have no density.

        Args:
            data: the columns by name, among them `x`, (n, *event_shape).
        """
        check_event(self.name, "event_shape", data, self.event_shape, self.likelihood.integer)
        self.likelihood.check(data["x"])

    def _density(self, **options: Any) -> AutoregressiveDistribution:
        order = {"unit": self.network.unit, "by_pixel": self.network.by_pixel}
        return AutoregressiveDistribution(self.network, self.likelihood, self.event_shape, **order, **options)

    def _log_prob(self, x: Tensor, *given: Tensor | None) -> Tensor:
        """log p(x | given), (n,), in chunks of rows."""
        rows = max(1, _MAX_ELEMENTS // math.prod(self.event_shape))
        chunks = zip(*(column.split(rows) for column in (x, *given) if column is not None), strict=True)
        return torch.cat([self.density(*rest).log_prob(chunk) for chunk, *rest in chunks])

    def _complete(self, x: Tensor, *given: Tensor) -> Tensor:
        """Draw the rest of data (n, *event_shape) that begin with `x`, refusing an `x` that is no first part."""
        event, part, dim = self.event_shape, tuple(x.shape[1:]), self._last_dim()
        if len(part) != len(event) or part[dim] > event[dim] or part != (*event[:dim], part[dim], *event[dim + 1 :]):
            sizes = ["n", *map(str, event[:dim]), f"up to {event[dim]}", *map(str, event[dim + 1 :])]
            raise ValueError(f"{self.name} completes x of shape ({', '.join(sizes)}), got {tuple(x.shape)}")
        with self.predicting():
            density = self.density(*(column.to(self.device) for column in given))
            shape = () if density.batch_shape else (len(x),)
            return density.sample(shape, prefix=density.elements(x.to(self.device)))

    def _last_dim(self) -> int:
        """The dimension of an event that varies last in the order of its elements."""
        return 1 if self.network.by_pixel else next((i for i, size in enumerate(self.event_shape) if size > 1), 0)
