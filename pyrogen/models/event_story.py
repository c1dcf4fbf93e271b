"""The base of stories whose column `x` has one event shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from pyrogen.story import Story, check_event

if TYPE_CHECKING:
    from pyrogen.distributions import Family

__all__ = ["EventStory"]


class EventStory(Story):
    """A story of a column `x` whose rows all have the shape `event_shape`, which the constructor of a subclass sets.

    Where a subclass has a `likelihood`, it decides which values of x are allowed.
    """

    event_shape: tuple[int, ...]

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or with values that have no density under the likelihood.

        Args:
            data: the columns by name, among them `x`, (n, *event_shape).
        """
        check_event(self.name, "event_shape", data, self.event_shape)
        likelihood: Family | None = getattr(self, "likelihood", None)
        if likelihood is not None:
            likelihood.check(data["x"])
