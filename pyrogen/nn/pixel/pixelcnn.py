"""PixelCNN: masked convolutions over the pixels before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from pyrogen.nn.pixel.masked import Brush, MaskedConv2d, painted
from pyrogen.nn.pixel.pixels import ResidualPixelNetwork
from pyrogen.nn.shapes import Shape

__all__ = ["PixelCNN"]


@dataclass(eq=False)
class PixelCNN(ResidualPixelNetwork):
    """A masked convolution, then residual blocks of masked convolutions.

    A block adds to 2 `width` channels what convolutions 1 by 1, 3 by 3 and 1 by 1 make of them, `width` between. Some
    pixels to the upper right stay unseen however many blocks there are: see `GatedPixelCNN`.

    Args:
        event_shape: (channels, height, width) of an image, (height, width) of a grid of symbols.
        outputs: numbers for each element.
        width: of a block, inside.
        blocks: how many.
        kernel: of the first convolution.
        symbols: how many there are; 0: values in [0, 1].
        context: numbers of a context that all pixels are told, or (channels, height, width) of a map of them; 0: none.

    Shapes:
        (rows, *event_shape), and (rows, context) or (rows, *context) -> (rows, height, width, channels, outputs).

    Raises:
        ValueError: `event_shape` is no image's; its channels do not divide `width`; an even kernel.

    Example:
        >>> import torch
        >>> PixelCNN((3, 8, 8), outputs=256, width=6, blocks=1)(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 8, 8, 3, 256])

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    event_shape: Shape
    outputs: int = 1
    width: int = 16
    blocks: int = 15
    kernel: int = 7
    symbols: int = 0
    context: Shape = 0

    def _layers(self, wide: int) -> Iterable[nn.Module]:
        sizes = [(wide, self.width, 1), (self.width, self.width, 3), (self.width, wide, 1)]
        for _ in range(self.blocks):
            convs = (MaskedConv2d(*size, self._channels, own=True) for size in sizes)
            yield nn.Sequential(*(layer for conv in convs for layer in (nn.SiLU(), conv)))

    def _painted(self, layer: nn.Sequential, rows: int) -> Brush:
        return painted(layer, rows, self._height, self._width)
