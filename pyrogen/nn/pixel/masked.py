"""Layers that see a part of their input alone, so that a network's outputs follow an order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad

from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["Brush", "MaskedConv2d", "MaskedDense", "Painted", "painted"]

Brush = Callable[[int, int, Tensor], Tensor]
"""From row i, column j and the pixel there (rows, inside) to the outputs there (rows, outside)."""


@dataclass(eq=False)
class MaskedDense(nn.Module):
    """MADE: a fully connected network whose outputs for an element depend on the elements before it alone.

    A unit of a hidden layer has a degree d and sees units of degree d and less; the outputs for element i see degrees
    below i. Elements are in the order of memory.

    Args:
        event_shape: of x; flattened.
        outputs: numbers for each element.
        hidden: widths of the hidden layers, none below the number of elements.
        context: numbers of a context that all elements are told; 0: none.

    Shapes:
        (rows, *event_shape), and (rows, context) -> (rows, elements, outputs).

    Raises:
        ValueError: a hidden layer is narrower than the event, so that some element would be told nothing.

    Example:
        >>> import torch
        >>> MaskedDense((1, 8, 8), outputs=2, hidden=(100,))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64, 2])

    References:
        Germain, Gregor, Murray, Larochelle 2015, arXiv:1502.03509.
    """

    unit: ClassVar[tuple[int, ...]] = ()
    by_pixel: ClassVar[bool] = False

    event_shape: Shape
    outputs: int = 1
    hidden: Sequence[int] = (1000,)
    context: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.hidden = as_shape(self.hidden)
        elements = math.prod(self._in)
        if min(self.hidden) < elements:
            raise ValueError(f"MaskedDense over {elements} elements needs hidden layers as wide, got {self.hidden}")
        told: Any = {"param_dims": [self.outputs], "permutation": torch.arange(elements), "nonlinearity": nn.SiLU()}
        widths = list(self.hidden)
        self.network: nn.Module = (
            ConditionalAutoRegressiveNN(elements, self.context, widths, **told)
            if self.context
            else AutoRegressiveNN(elements, widths, **told)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs for `x`."""
        batch_shape(x, self._in, "MaskedDense")
        out: Tensor = self.network(x.flatten(1), *([] if context is None else [context]))
        return out[..., None] if self.outputs == 1 else out.transpose(1, 2)


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees the rows above, and in its own row what stands to the left; the size stays.

    Channels come in groups, one for each of an image's channels, in their order. Of its own pixel a group sees the
    groups before it, and with `own` itself as well: without it in a first layer, with it in all that follow, outputs
    for a channel depend on the pixels before, and on the channels before in its own pixel.

    Args:
        inside: channels of the input.
        outside: channels of the output.
        kernel: height and width that a convolution without a mask would have, odd; or a pair of them.
        groups_of: number of groups, which divides both; 1: a pixel is seen as a whole.
        own: whether a group sees itself.

    Shapes:
        (rows, inside, height, width) -> (rows, outside, height, width).

    Raises:
        ValueError: an even kernel; channels that the groups do not divide.

    Example:
        >>> import torch
        >>> conv = MaskedConv2d(1, 1, kernel=3)
        >>> conv.mask[0, 0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    mask: Tensor

    def __init__(
        self, inside: int, outside: int, kernel: int | tuple[int, int], groups_of: int = 1, own: bool = False
    ) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        if not height % 2 or not width % 2:
            raise ValueError(f"MaskedConv2d needs an odd kernel, so that it has a middle, got {height} by {width}")
        if inside % groups_of or outside % groups_of:
            raise ValueError(f"MaskedConv2d: {groups_of} groups divide neither or one of {inside} and {outside}")
        self.above, self.beside = height // 2, width // 2
        super().__init__(inside, outside, (self.above + 1, width))
        seen, seeing = (torch.arange(groups_of).repeat_interleave(n // groups_of) for n in (inside, outside))
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, self.beside :] = 0
        mask[:, :, -1, self.beside] = (seen[None] <= seeing[:, None] if own else seen[None] < seeing[:, None]).float()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `x`."""
        return conv2d(pad(x, (self.beside, self.beside, self.above, 0)), self.weight * self.mask, self.bias)


class Painted:
    """A `MaskedConv2d` of images (rows, inside, height, width) that are painted pixel by pixel.

    Args:
        conv: the convolution.
        rows: how many images.
        height: of an image.
        width: of an image.
    """

    def __init__(self, conv: MaskedConv2d, rows: int, height: int, width: int) -> None:
        self.above, self.beside, self.bias = conv.above, conv.beside, conv.bias
        self.weight = (conv.weight * conv.mask).flatten(1)
        shape = (rows, conv.in_channels, height + self.above, width + 2 * self.beside)
        self.image = self.weight.new_zeros(shape)

    def paint(self, i: int, j: int, pixel: Tensor) -> None:
        """Put a pixel (rows, inside) into row i and column j."""
        self.image[:, :, i + self.above, j + self.beside] = pixel

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        """The outputs (rows, outside) at row i and column j, whose pixel (rows, inside) is painted first."""
        if not self.above and not self.beside:
            return linear(pixel, self.weight, self.bias)
        self.paint(i, j, pixel)
        seen = self.image[:, :, i : i + self.above + 1, j : j + 2 * self.beside + 1]
        return linear(seen.flatten(1), self.weight, self.bias)


def painted(layers: nn.Sequential, rows: int, height: int, width: int) -> Brush:
    """Masked convolutions, and layers between them that treat each number alike, of images that come pixel by pixel.

    Args:
        layers: what a whole image goes through.
        rows: how many images.
        height: of an image.
        width: of an image.
    """
    parts = [Painted(layer, rows, height, width) if isinstance(layer, MaskedConv2d) else layer for layer in layers]

    def at(i: int, j: int, pixel: Tensor) -> Tensor:
        for part in parts:
            pixel = part(i, j, pixel) if isinstance(part, Painted) else part(pixel)
        return pixel

    return at
