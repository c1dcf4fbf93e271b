"""Convolutional networks between an image and a coarser grid of feature vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.conv.blocks import downsampled_sizes, downsampling_layers, residual_blocks, upsampling_layers
from pyrogen.nn.shapes import Shape, as_shape, flatten_batch, image_shape


@dataclass(eq=False)
class GridEncoder(nn.Module):
    """Encoder from an image to a grid of vectors: convolutions that halve height and width, then residual blocks.

    Args:
        event_shape: (channels, height, width) of the image.
        features: size of a vector.
        channels: output channels of the convolutions, (32, 64) by default; each halves the size, rounded up.
        blocks: residual blocks at the last size, 2 by default.

    Raises:
        ValueError: `event_shape` is not (channels, height, width), or `channels` is empty.

    Example:
        >>> import torch
        >>> GridEncoder((1, 28, 28), 16)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 7, 7, 16])

    References:
        van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937 (architecture).
    """

    event_shape: Shape
    features: Count
    channels: Sequence[int] = (32, 64)
    blocks: CountOrZero = 2

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = image_shape(self.event_shape, "GridEncoder", "reshape x")
        self.channels = as_shape(self.channels)
        self.grid = downsampled_sizes(self._in, self.channels)[-1]
        convs, last = downsampling_layers([self._in[0], *self.channels]), self.channels[-1]
        convs += [*residual_blocks(last, self.blocks), nn.SiLU(), nn.Conv2d(last, self.features, 1)]
        self.layers = nn.Sequential(*convs)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: images of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Grids of shape (..., *grid, features).
        """
        return flatten_batch(self.layers, x, self._in, "GridEncoder").movedim(-3, -1)


@dataclass(eq=False)
class GridDecoder(nn.Module):
    """Decoder from a grid of vectors to an image: the layers of `GridEncoder` in reverse order.

    Args:
        features: size of a vector.
        out_shape: (channels, height, width) of the image.
        channels: input channels of the transposed convolutions, (64, 32) by default; each doubles the size.
        blocks: residual blocks at the first size, 2 by default.

    Raises:
        ValueError: `out_shape` is not (channels, height, width), or `channels` is empty.

    Example:
        >>> import torch
        >>> GridDecoder(16, (1, 28, 28))(torch.zeros(5, 7, 7, 16)).shape
        torch.Size([5, 1, 28, 28])
    """

    features: Count
    out_shape: Shape
    channels: Sequence[int] = (64, 32)
    blocks: CountOrZero = 2

    def __post_init__(self) -> None:
        super().__init__()
        self.out_shape = image = image_shape(self.out_shape, "GridDecoder", "reshape x")
        self.channels = as_shape(self.channels)
        self.grid = downsampled_sizes(image, self.channels)[-1]
        start = [nn.Conv2d(self.features, self.channels[0], 1), *residual_blocks(self.channels[0], self.blocks)]
        self.layers = nn.Sequential(*start, *upsampling_layers(self.channels, image))

    def forward(self, z: Tensor) -> Tensor:
        """Decode to images.

        Args:
            z: grids of shape (..., *grid, features), with any batch dimensions.

        Returns:
            Images of shape (..., *out_shape).
        """
        event = (*self.grid, self.features)
        return flatten_batch(lambda rows: self.layers(rows.movedim(-1, 1)), z, event, "GridDecoder")
