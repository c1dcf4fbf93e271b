"""Fully connected networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.shapes import Shape, as_shape, batch_shape


@dataclass(eq=False)
class Dense(nn.Module):
    """Fully connected network between two event shapes: linear layers with SiLU between them.

    Args:
        in_shape: event shape of the input, which is flattened.
        out_shape: event shape of the output.
        hidden: widths of the hidden layers, (400,) by default; `()` gives a linear map.

    Raises:
        ValueError: a shape or a width is not positive.

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
        """Apply the network.

        Args:
            x: input of shape (..., *in_shape), with any batch dimensions.

        Returns:
            Output of shape (..., *out_shape).
        """
        lead = batch_shape(x, self._in, "Dense")
        return self.layers(x.reshape((*lead, math.prod(self._in)))).reshape((*lead, *self._out))


def hidden_layers(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.SiLU) -> list[nn.Module]:
    """Build linear layers with an activation after each.

    Args:
        sizes: widths of the input and of every layer's output, in order.
        activation: constructor of an activation, SiLU by default.

    Returns:
        The layers, two for each pair of neighbouring sizes.
    """
    return [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
