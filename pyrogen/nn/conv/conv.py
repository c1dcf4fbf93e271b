"""Convolutional networks from and to images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.conv.blocks import downsampled_sizes, downsampling_layers, residual_blocks, upsampling_layers
from pyrogen.nn.shapes import Shape, as_shape, flatten, flatten_batch, image_shape


@dataclass(eq=False)
class ConvEncoder(nn.Module):
    """Encoder of images: convolutions that halve height and width (rounded up), then a linear layer.

    Args:
        event_shape: (channels, height, width) of the image.
        out_shape: event shape of the output.
        channels: output channels of the convolutions, (32, 64) by default; each halves the size, SiLU follows each.
        blocks: residual blocks after each convolution, 0 by default.

    Raises:
        ValueError: `event_shape` is not (channels, height, width), or `channels` is empty.

    Example:
        >>> import torch
        >>> ConvEncoder((1, 28, 28), 10)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])
    """

    event_shape: Shape
    out_shape: Shape
    channels: Sequence[int] = (32, 64)
    blocks: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = image_shape(self.event_shape, "ConvEncoder", "use Dense, or reshape")
        self.out_shape = self._out = as_shape(self.out_shape)
        self.channels = as_shape(self.channels)
        size = math.prod(downsampled_sizes(self._in, self.channels)[-1])
        convs = downsampling_layers([self._in[0], *self.channels], self.blocks)
        last = nn.Linear(self.channels[-1] * size, math.prod(self._out))
        self.layers = nn.Sequential(*convs, nn.Flatten(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: images of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Output of shape (..., *out_shape).
        """
        out = flatten_batch(self.layers, x, self._in, "ConvEncoder")
        return out.reshape((*out.shape[:-1], *self._out))


@dataclass(eq=False)
class ConvDecoder(nn.Module):
    """Decoder of images: a linear layer, then transposed convolutions that double height and width.

    The sizes are those of `ConvEncoder` in reverse order: an image of 7 pixels comes from 4, from 2. Kernels are 4 wide
    where a size doubles, so that the same number of inputs contributes to every pixel, which avoids the checkerboard
    artifacts of Odena et al.; they are 3 wide where the size is one less than double.

    Args:
        in_shape: event shape of the input, which is flattened.
        out_shape: (channels, height, width) of the image.
        channels: input channels of the transposed convolutions, (64, 32) by default; each doubles the size, SiLU
            precedes each.
        blocks: residual blocks before each transposed convolution, 0 by default.

    Raises:
        ValueError: `out_shape` is not (channels, height, width), or `channels` is empty.

    Example:
        >>> import torch
        >>> ConvDecoder(10, (3, 7, 9))(torch.zeros(5, 10)).shape
        torch.Size([5, 3, 7, 9])

    References:
        Odena, Dumoulin, Olah 2016, "Deconvolution and checkerboard artifacts", Distill, doi:10.23915/distill.00003.
    """

    in_shape: Shape
    out_shape: Shape
    channels: Sequence[int] = (64, 32)
    blocks: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.in_shape = self._in = as_shape(self.in_shape)
        self.out_shape = image = image_shape(self.out_shape, "ConvDecoder", "use Dense, or reshape")
        self.channels = as_shape(self.channels)
        height, width = downsampled_sizes(image, self.channels)[-1]
        start = (self.channels[0], height, width)
        layers: list[nn.Module] = [nn.Linear(math.prod(self._in), math.prod(start)), nn.Unflatten(-1, start)]
        self.layers = nn.Sequential(*layers, *upsampling_layers(self.channels, image, self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Decode to images.

        Args:
            x: input of shape (..., *in_shape), with any batch dimensions.

        Returns:
            Images of shape (..., *out_shape).
        """
        return flatten_batch(self.layers, flatten(x, self._in, "ConvDecoder"), (math.prod(self._in),))


@dataclass(eq=False)
class ConvNetwork(nn.Module):
    """Network from an image to one of the same size: a convolution, residual blocks, and a convolution.

    Args:
        event_shape: (channels, height, width) of the image.
        out_shape: (channels, height, width) of the output.
        width: number of channels inside, 64 by default.
        blocks: number of residual blocks, 1 by default.

    Raises:
        ValueError: the shapes are not (channels, height, width), or their heights or widths differ.

    Example:
        >>> import torch
        >>> ConvNetwork((3, 7, 9), (2, 7, 9))(torch.zeros(5, 4, 3, 7, 9)).shape
        torch.Size([5, 4, 2, 7, 9])
    """

    event_shape: Shape
    out_shape: Shape
    width: Count = 64
    blocks: CountOrZero = 1

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = image_shape(self.event_shape, "ConvNetwork", "use Dense")
        self.out_shape = out = image_shape(self.out_shape, "ConvNetwork", "use Dense")
        if self._in[1:] != out[1:]:
            raise ValueError(f"ConvNetwork is for images of one size, got {self._in} and {out}: use Dense")
        first, last = nn.Conv2d(self._in[0], self.width, 3, padding=1), nn.Conv2d(self.width, out[0], 3, padding=1)
        self.layers = nn.Sequential(first, *residual_blocks(self.width, self.blocks), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network.

        Args:
            x: images of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Images of shape (..., *out_shape).
        """
        return flatten_batch(self.layers, x, self._in, "ConvNetwork")
