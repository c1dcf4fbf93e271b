"""What many stories ask of their columns: data of one event shape, and labels that they know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pyrogen.story.story import Story

__all__ = ["Labelled", "check_event", "check_length"]


def check_event(who: str, argument: str, data: Mapping[str, Tensor], event_shape: tuple[int, ...]) -> None:
    """Refuse a column `x` whose rows are not of `event_shape`, which the story `who` took as `argument`.

    Raises:
        ValueError: naming both shapes and the remedy; or there is no such column.
    """
    if "x" not in data:
        have = f"no such column (columns: {', '.join(map(str, data))})" if data else "no columns"
        raise ValueError(f"{who} asks for 'x', and the data has {have}")
    came = tuple(data["x"].shape)
    if not came or came[1:] != event_shape:
        expected = ", ".join(["n", *map(str, event_shape)])
        raise ValueError(
            f"{who} takes a column 'x' of shape ({expected}), got {came}: reshape it, or build the story with "
            f"{argument}={came[1:]}"
        )


def check_length(who: str, data: Mapping[str, Tensor], places: int) -> None:
    """Refuse a column `length`, if there is one, that does not say after how many of so many places a row ends.

    Raises:
        ValueError: naming what came.
    """
    length = data.get("length")
    if length is None:
        return
    whole = not length.is_floating_point() and length.dim() == 1
    if not whole or not 0 <= int(length.min()) <= int(length.max()) <= places:
        kind = f"{tuple(length.shape)} of {str(length.dtype).removeprefix('torch.')}"
        raise ValueError(
            f"{who} takes a column 'length' of whole numbers from 0 to {places}, (n,), got {kind} from "
            f"{length.min()} to {length.max()}"
        )


class Labelled(Story):
    """A story of x given a label y; its `label`, a `pyrogen.nn.Label`, says what a y is."""

    label: Any

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new data of the labels `y`: one for each, or one for all."""
        if given.get("y") is not None:
            given["y"] = self.label.checked(self.name, given["y"], n)
        return super().sample(n, **given)

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse a y that is no label, after what the story refuses without one."""
        inherited = getattr(super(), "check", None)
        if inherited is not None:
            inherited(data)
        self.label.check(self.name, data)
