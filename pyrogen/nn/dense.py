"""Fully connected networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["Dense", "hidden_layers"]


@dataclass(eq=False)
class Dense(nn.Module):
    """A fully connected network between two event shapes, SiLU between its layers, none after the last.

    Args:
        in_shape: event shape of the input; flattened.
        out_shape: event shape of the output.
        hidden: widths of the hidden layers; `()` is a linear map.

    Shapes:
        (..., *in_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: the input does not end in `in_shape`.

    Example:
        >>> import torch
        >>> Dense((1, 28, 28), 10, hidden=(400, 200))(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])

    References:
        Elfwing, Uchibe, Doya 2017, arXiv:1702.03118 (SiLU).
    """

    in_shape: Shape
    out_shape: Shape
    hidden: Sequence[int] = (400,)

    def __post_init__(self) -> None:
        super().__init__()
        self.in_shape = self._in = as_shape(self.in_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self.hidden = as_shape(self.hidden)
        sizes = [math.prod(self._in), *self.hidden, math.prod(self._out)]
        self.layers = nn.Sequential(*hidden_layers(sizes)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        lead = batch_shape(x, self._in, "Dense")
        out: Tensor = self.layers(x.reshape((*lead, math.prod(self._in))))
        return out.reshape((*lead, *self._out))


def hidden_layers(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.SiLU) -> list[nn.Module]:
    """Linear maps from size to size, an activation after each."""
    return [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
