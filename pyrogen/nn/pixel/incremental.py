"""Incremental evaluation of masked convolutions: the outputs at one pixel after the other, in the order of reading."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import linear

from pyrogen.nn.pixel.masked import MaskedConv2d

IncrementalLayer = Callable[[int, int, Tensor], Tensor]
"""From a row i, a column j and the input there (batch, in_channels) to the output there (batch, out_channels)."""


class IncrementalMaskedConv2d:
    """A `MaskedConv2d` of images that become known pixel by pixel.

    Args:
        conv: the convolution.
        batch_size: number of images.
        height: of an image.
        width: of an image.
    """

    def __init__(self, conv: MaskedConv2d, batch_size: int, height: int, width: int) -> None:
        self.above, self.beside, self.bias = conv.above, conv.beside, conv.bias
        self.weight = (conv.weight * conv.mask).flatten(1)
        shape = (batch_size, conv.in_channels, height + self.above, width + 2 * self.beside)
        self.image = self.weight.new_zeros(shape)

    def set_pixel(self, i: int, j: int, pixel: Tensor) -> None:
        """Set the input at a pixel.

        Args:
            i: its row.
            j: its column.
            pixel: shape (batch_size, in_channels).
        """
        self.image[:, :, i + self.above, j + self.beside] = pixel

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        """The output (batch_size, out_channels) at row i and column j, where `pixel` is set first."""
        if not self.above and not self.beside:
            return linear(pixel, self.weight, self.bias)
        self.set_pixel(i, j, pixel)
        window = self.image[:, :, i : i + self.above + 1, j : j + 2 * self.beside + 1]
        return linear(window.flatten(1), self.weight, self.bias)


def incremental_sequential(layers: nn.Sequential, batch_size: int, height: int, width: int) -> IncrementalLayer:
    """Evaluate a sequence of masked convolutions and elementwise layers incrementally.

    Args:
        layers: the layers.
        batch_size: number of images.
        height: of an image.
        width: of an image.

    Returns:
        A function from a row, a column and the input there to the output of the last layer there.
    """
    parts = [
        IncrementalMaskedConv2d(layer, batch_size, height, width) if isinstance(layer, MaskedConv2d) else layer
        for layer in layers
    ]

    def output(i: int, j: int, pixel: Tensor) -> Tensor:
        for part in parts:
            pixel = part(i, j, pixel) if isinstance(part, IncrementalMaskedConv2d) else part(pixel)
        return pixel

    return output
