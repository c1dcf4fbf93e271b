"""Convolutional networks between an image and a coarser grid of vectors, which keep what is where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.conv.conv import doublings, halvings, residuals, strided
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["GridDecoder", "GridEncoder"]


@dataclass(eq=False)
class GridEncoder(nn.Module):
    """From an image to a grid of vectors: convolutions that halve height and width (rounded up), residual blocks.

    Args:
        event_shape: (channels, height, width) of the image.
        features: numbers in a vector.
        channels: of the convolutions, one halving each.
        blocks: residual blocks at the last size.

    Shapes:
        (..., *event_shape) -> (..., *grid, features), for any leading dimensions.

    Raises:
        ValueError: `event_shape` is no image's, `channels` is empty, or the input does not end in `event_shape`.

    Example:
        >>> import torch
        >>> GridEncoder((1, 28, 28), 16)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 7, 7, 16])

    References:
        van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937 (its shape).
    """

    event_shape: Shape
    features: int
    channels: Sequence[int] = (32, 64)
    blocks: int = 2

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.channels = as_shape(self.channels)
        self.grid = _grid(self._in, self.channels, "GridEncoder")
        convs, last = strided([self._in[0], *self.channels]), self.channels[-1]
        self.layers = nn.Sequential(*convs, *residuals(last, self.blocks), nn.SiLU(), nn.Conv2d(last, self.features, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The grid for `x`."""
        lead = batch_shape(x, self._in, "GridEncoder")
        out: Tensor = self.layers(x.reshape(math.prod(lead), *self._in))
        return out.permute(0, 2, 3, 1).reshape(*lead, *self.grid, self.features)


@dataclass(eq=False)
class GridDecoder(nn.Module):
    """From a grid of vectors to an image: `GridEncoder` backwards.

    Args:
        features: numbers in a vector.
        out_shape: (channels, height, width) of the image.
        channels: of the inputs of the transposed convolutions, one doubling each.
        blocks: residual blocks at the first size.

    Shapes:
        (..., *grid, features) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: as `GridEncoder`.

    Example:
        >>> import torch
        >>> GridDecoder(16, (1, 28, 28))(torch.zeros(5, 7, 7, 16)).shape
        torch.Size([5, 1, 28, 28])
    """

    features: int
    out_shape: Shape
    channels: Sequence[int] = (64, 32)
    blocks: int = 2

    def __post_init__(self) -> None:
        super().__init__()
        self.out_shape = self._out = as_shape(self.out_shape)
        self.channels = as_shape(self.channels)
        self.grid = _grid(self._out, self.channels, "GridDecoder")
        first = self.channels[0]
        start = [nn.Conv2d(self.features, first, 1), *residuals(first, self.blocks)]
        self.layers = nn.Sequential(*start, *doublings(self.channels, self._out))

    def forward(self, z: Tensor) -> Tensor:
        """The image for the grid `z`."""
        event = (*self.grid, self.features)
        lead = batch_shape(z, event, "GridDecoder")
        out: Tensor = self.layers(z.reshape(math.prod(lead), *event).permute(0, 3, 1, 2))
        return out.reshape(*lead, *self._out)


def _grid(image: tuple[int, ...], channels: tuple[int, ...], who: str) -> tuple[int, int]:
    """Height and width of the grid."""
    if len(image) != 3 or not channels:
        raise ValueError(
            f"{who} is for images (channels, height, width) and at least one halving, got {image} and {channels}"
        )
    return halvings(image, channels)[-1]
