"""PixelCNN++: two streams of gated convolutions in the manner of a U-Net."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.pixel.masked import shift_down
from pyrogen.nn.pixel.pixels import PixelContext
from pyrogen.nn.shapes import Shape, batch_shape, image_shape

Streams = tuple[Tensor, Tensor]
"""States of the rows above, and of what is to the left as well."""


@dataclass(eq=False)
class PixelCNNPlusPlus(nn.Module):
    """PixelCNN++: outputs for whole pixels, from a stream of the rows above and one of what is to the left as well.

    Gated residual blocks at full size, at half of it, and so on, then back, each block with a skip connection from its
    counterpart. Images whose size cannot be halved as often are padded inside.

    Args:
        event_shape: (channels, height, width) of an image.
        outputs: number of outputs for each pixel, 1 by default.
        width: number of channels of a state, 32 by default.
        blocks: number of blocks at each size, on each way; 2 by default.
        sizes: number of sizes, 3 by default.
        dropout: dropout probability inside a block, 0 by default.
        context: size of a context vector on which all outputs depend; 0, the default, without one.

    Raises:
        ValueError: `event_shape` is not (channels, height, width).

    Example:
        >>> import torch
        >>> PixelCNNPlusPlus((3, 6, 6), outputs=100, width=4, blocks=1)(torch.zeros(5, 3, 6, 6)).shape
        torch.Size([5, 6, 6, 100])

    References:
        Salimans, Karpathy, Chen, Kingma 2017, arXiv:1701.05517 (here without weight normalization).
    """

    by_pixel: ClassVar[bool] = True

    event_shape: Shape
    outputs: Count = 1
    width: Count = 32
    blocks: CountOrZero = 2
    sizes: Count = 3
    dropout: float = 0.0
    context: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = image_shape(self.event_shape, "PixelCNNPlusPlus", "reshape x")
        self.unit = self._in[:1]
        in_channels = self._in[0] + 1  # a channel of ones marks the inside of the image
        self.above = _ShiftedConv2d(in_channels, self.width, (2, 3))
        self.row_above = _ShiftedConv2d(in_channels, self.width, (1, 3))
        self.left = _ShiftedConv2d(in_channels, self.width, (2, 1), right=True)
        self.down, self.up = self._blocks(0), self._blocks(1)
        self.downsample = nn.ModuleList(_Resize(self.width, _ShiftedConv2d) for _ in range(self.sizes - 1))
        self.upsample = nn.ModuleList(_Resize(self.width, _ShiftedConvTranspose2d) for _ in range(self.sizes - 1))
        self.last = nn.Conv2d(self.width, self.outputs, 1)

    def _blocks(self, skips: int) -> Any:
        """The blocks of one way, a list for each size; on the way back there is one more after each upsampling."""
        block = functools.partial(_StreamBlocks, self.width, skips, self.context, self.dropout)
        counts = [self.blocks + (skips if size else 0) for size in range(self.sizes)]
        return nn.ModuleList(nn.ModuleList(block() for _ in range(count)) for count in counts)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Compute the outputs for all pixels.

        Args:
            x: images of shape (batch, *event_shape), values in [0, 1].
            context: shape (batch, context); None, the default, for a network without a context.

        Returns:
            Outputs of shape (batch, height, width, outputs).
        """
        batch_shape(x, self._in, "PixelCNNPlusPlus")
        return self._outputs(x, context)

    def steps(self, batch_size: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """Prepare evaluation pixel by pixel, which leaves out the rows below.

        Args:
            batch_size: number of images.
            context: as that of `forward`.

        Returns:
            A function from a position and the pixels so far, in order (batch_size, pixels, channels), to the outputs at
            the position (batch_size, outputs).
        """
        width = self._in[2]

        def step(position: int, x: Tensor) -> Tensor:
            i, j = divmod(position, width)
            image = x[:, : (i + 1) * width].reshape(batch_size, i + 1, width, -1).movedim(-1, 1)
            return self._outputs(image, context)[:, i, j]

        return step

    def _outputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        height, width = x.shape[2:]
        multiple = 2 ** (self.sizes - 1)
        x = torch.cat([2 * x - 1, torch.ones_like(x[:, :1])], 1)
        x = pad(x, (0, -width % multiple, 0, -height % multiple))
        left = pad(self.left(x), (1, 0))[..., :-1]
        streams = shift_down(self.above(x)), shift_down(self.row_above(x)) + left
        skips = [streams]
        for size, blocks in enumerate(self.down):
            if size:
                streams = self.downsample[size - 1](*streams)
                skips.append(streams)
            for block in blocks:
                streams = block(*streams, context)
                skips.append(streams)
        streams = skips.pop()
        for size, blocks in enumerate(self.up):
            streams = self.upsample[size - 1](*streams) if size else streams
            for block in blocks:
                streams = block(*streams, context, skips.pop())
        return self.last(elu(streams[1]))[:, :, :height, :width].permute(0, 2, 3, 1)


class _ShiftedConv2d(nn.Module):
    """A convolution of its row and those above; with `right`, of its column and those to the left, and of no other."""

    def __init__(self, inside: int, outside: int, kernel: tuple[int, int], right: bool = False, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride)
        above, beside = kernel[0] - 1, kernel[1] - 1
        self.pad = (beside, 0, above, 0) if right else (beside // 2, beside // 2, above, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad(x, self.pad))


class _ShiftedConvTranspose2d(nn.Module):
    """A transposed convolution to twice the size, with the receptive field of `_ShiftedConv2d`."""

    def __init__(self, inside: int, outside: int, kernel: tuple[int, int], right: bool = False, stride: int = 2):
        super().__init__()
        self.conv, self.crop = nn.ConvTranspose2d(inside, outside, kernel, stride), kernel[1] - stride

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., self.crop :]


_ABOVE, _LEFT = (2, 3), (2, 2)
"""Kernels of the two streams."""


class _Resize(nn.Module):
    """Both streams at half, or twice, the size."""

    def __init__(self, width: int, conv: type[_ShiftedConv2d] | type[_ShiftedConvTranspose2d]) -> None:
        super().__init__()
        self.above, self.left = conv(width, width, _ABOVE, stride=2), conv(width, width, _LEFT, right=True, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> Streams:
        return self.above(above), self.left(left)


class _StreamBlocks(nn.Module):
    """A block of each stream; the first stream is an input of the second, and `skips` are inputs of both."""

    def __init__(self, width: int, skips: int, context: int, dropout: float) -> None:
        super().__init__()
        self.above = _GatedResidualBlock(width, _ABOVE, False, skips * width, context, dropout)
        self.left = _GatedResidualBlock(width, _LEFT, True, width + skips * width, context, dropout)

    def forward(self, above: Tensor, left: Tensor, context: Tensor | None, skips: Streams | tuple[()] = ()) -> Streams:
        above = self.above(above, context, skips[:1])
        return above, self.left(left, context, (above, *skips[1:]))


class _GatedResidualBlock(nn.Module):
    """x + a sigmoid(b), of two convolutions of x, other states and a context."""

    def __init__(self, width: int, kernel: tuple[int, int], right: bool, inputs: int, context: int, dropout: float):
        super().__init__()
        self.input_conv = _ShiftedConv2d(2 * width, width, kernel, right)
        self.skip_conv = nn.Conv2d(2 * inputs, width, 1) if inputs else None
        self.dropout = nn.Dropout(dropout)
        self.output_conv = _ShiftedConv2d(2 * width, 2 * width, kernel, right)
        self.context_embedding = PixelContext(context, 2 * width)

    def forward(self, x: Tensor, context: Tensor | None, others: tuple[Tensor, ...]) -> Tensor:
        hidden = self.input_conv(_concat_elu(x))
        if self.skip_conv is not None:
            hidden = hidden + self.skip_conv(_concat_elu(torch.cat(others, 1)))
        hidden = self.output_conv(self.dropout(_concat_elu(hidden))) + self.context_embedding(context)
        a, b = hidden.chunk(2, 1)
        return x + a * b.sigmoid()


def _concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x."""
    return elu(torch.cat([x, -x], 1))
