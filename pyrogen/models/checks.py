"""What several stories ask of their columns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["check_event"]


def check_event(who: str, argument: str, data: Mapping[str, Tensor], event_shape: tuple[int, ...]) -> None:
    """Refuse a column `x` whose rows are not of `event_shape`, which the story `who` took as `argument`.

    Raises:
        ValueError: naming both shapes and the remedy; nothing if there is no such column, which is refused elsewhere.
    """
    came = tuple(data["x"].shape) if "x" in data else (0, *event_shape)
    if came[1:] != event_shape or not came:
        expected = ", ".join(["n", *map(str, event_shape)])
        raise ValueError(
            f"{who} takes a column 'x' of shape ({expected}), got {came}: reshape it, or build the story with "
            f"{argument}={came[1:]}"
        )
