"""Checks that many stories share: the shape of one datum, lengths of sequences, and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrogen.story.story import Story


def check_event(
    owner: str,
    argument: str,
    data: Mapping[str, Tensor],
    event_shape: tuple[int, ...],
    integer: bool | None = None,
) -> None:
    """Refuse a column `x` whose rows are not of the event shape, or whose numbers are of a type that is not taken.

    Args:
        owner: the story's name, for the message.
        argument: the constructor's argument that sets the event shape, for the message.
        data: columns (n, ...) by name.
        event_shape: the expected shape of one row.
        integer: whether x must be int64 (True) or floating (False); None, the default: any real numbers.

    Raises:
        ValueError: there is no column `x`, its rows have another shape, or its numbers another type.
    """
    if "x" not in data:
        have = f"no such column (columns: {', '.join(map(str, data))})" if data else "no columns"
        raise ValueError(f"{owner} asks for 'x', and the data has {have}")
    shape = tuple(data["x"].shape)
    if not shape or shape[1:] != event_shape:
        expected = ", ".join(["n", *map(str, event_shape)])
        raise ValueError(
            f"{owner} takes a column 'x' of shape ({expected}), got {shape}: reshape it, or build the story with "
            f"{argument}={shape[1:]}"
        )
    dtype = data["x"].dtype
    kind = str(dtype).removeprefix("torch.")
    if dtype.is_complex:
        raise ValueError(
            f"{owner} takes a column 'x' of real numbers, got {kind}: pass torch.view_as_real(x), or x.real alone"
        )
    if integer and dtype != torch.int64:
        raise ValueError(f"{owner} takes a column 'x' of type int64, got {kind}: convert it with x.long()")
    if integer is False and not dtype.is_floating_point:
        raise ValueError(
            f"{owner} takes a column 'x' of floating-point numbers, got {kind}: convert it with x.float(), in a file "
            "with x.astype('float32'), and divide grey values of 0 to 255 by 255"
        )


def check_length(owner: str, data: Mapping[str, Tensor], max_length: int) -> None:
    """Refuse a column `length` that holds no lengths of sequences; without such a column nothing is checked.

    Args:
        owner: the story's name, for the message.
        data: columns (n, ...) by name.
        max_length: the largest length that the story takes.

    Raises:
        ValueError: `length` is not (n,), not of an integer type, or has values outside 0 to `max_length`.
    """
    length = data.get("length")
    if length is None:
        return
    integers = not length.is_floating_point() and length.dim() == 1
    if not integers or not 0 <= int(length.min()) <= int(length.max()) <= max_length:
        kind = f"{tuple(length.shape)} of {str(length.dtype).removeprefix('torch.')}"
        raise ValueError(
            f"{owner} takes a column 'length' of whole numbers from 0 to {max_length}, shape (n,), got {kind} from "
            f"{length.min()} to {length.max()}"
        )


class Labelled(Story):
    """A story of x given a label y; its attribute `label`, a `pyrogen.nn.Label`, defines which y are valid."""

    label: Any

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new data of the labels `y`.

        Args:
            n: number of data to draw, at least 1.
            **given: columns to condition on, above all `y`: (n, ...), or one label for all.

        Returns:
            The observed site's draws (n, ...), or a dict of them by site where several are observed.
        """
        if given.get("y") is not None:
            given["y"] = self.label.checked(self.name, given["y"], n)
        return super().sample(n, **given)

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse a column `y` that holds no valid labels, after the checks of the story without labels.

        Args:
            data: columns (n, ...) by name.
        """
        inherited = getattr(super(), "check", None)
        if inherited is not None:
            inherited(data)
        self.label.check(self.name, data)
