"""PixelCNN: masked convolutions over the pixels before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.pixel.incremental import IncrementalLayer, incremental_sequential
from pyrogen.nn.pixel.masked import MaskedConv2d
from pyrogen.nn.pixel.pixels import ResidualPixelNetwork
from pyrogen.nn.shapes import Shape


@dataclass(eq=False)
class PixelCNN(ResidualPixelNetwork):
    """PixelCNN: a masked convolution, then residual blocks of masked convolutions.

    A block adds to 2 `width` channels the output of convolutions 1 by 1, 3 by 3 and 1 by 1, with `width` channels
    between. Some pixels to the upper right are in no receptive field, however many blocks there are: the blind spot
    that `GatedPixelCNN` avoids.

    Args:
        event_shape: (channels, height, width) of an image, or (height, width) of a grid of symbols.
        outputs: number of outputs for each element, 1 by default.
        width: number of channels inside a block, which the image's channels divide; 16 by default.
        blocks: number of blocks, 15 by default.
        kernel: size of the first convolution, odd; 7 by default.
        symbols: number of symbols; 0, the default, for values in [0, 1].
        context: size of a context vector on which all outputs depend, or (channels, height, width) of a map; 0, the
            default, without one.

    Raises:
        ValueError: `event_shape` is neither an image's nor a grid's, its channels do not divide `width`, or `kernel` is
            even.

    Example:
        >>> import torch
        >>> PixelCNN((3, 8, 8), outputs=256, width=6, blocks=1)(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 8, 8, 3, 256])

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    event_shape: Shape
    outputs: Count = 1
    width: Count = 16
    blocks: CountOrZero = 15
    kernel: Count = 7
    symbols: CountOrZero = 0
    context: Shape = 0

    def _layers(self, states: int) -> Iterable[nn.Module]:
        sizes = [(states, self.width, 1), (self.width, self.width, 3), (self.width, states, 1)]
        for _ in range(self.blocks):
            convs = (MaskedConv2d(*size, self._channels, "B") for size in sizes)
            yield nn.Sequential(*(layer for conv in convs for layer in (nn.SiLU(), conv)))

    def _incremental_layer(self, layer: nn.Sequential, batch_size: int) -> IncrementalLayer:
        return incremental_sequential(layer, batch_size, self._height, self._width)
