"""Convolutional networks from and to images of any size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.shapes import Shape, as_shape, batch_shape, flatten_batch

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "ConvNetwork",
    "ResidualBlock",
    "doublings",
    "halvings",
    "residuals",
    "strided",
]


@dataclass(eq=False)
class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))): what the two convolutions add to an image's channels.

    Args:
        channels: of the image.

    Shapes:
        (batch, channels, height, width) -> (batch, channels, height, width).

    Example:
        >>> import torch
        >>> ResidualBlock(4)(torch.zeros(5, 4, 7, 7)).shape
        torch.Size([5, 4, 7, 7])

    References:
        He, Zhang, Ren, Sun 2016, arXiv:1603.05027 (the order of its parts).
    """

    channels: int

    def __post_init__(self) -> None:
        super().__init__()
        convs = (nn.Conv2d(self.channels, self.channels, 3, padding=1) for _ in range(2))
        self.layers = nn.Sequential(*(layer for conv in convs for layer in (nn.SiLU(), conv)))

    def forward(self, x: Tensor) -> Tensor:
        """The image one block on."""
        return x + self.layers(x)


@dataclass(eq=False)
class ConvEncoder(nn.Module):
    """From an image to numbers: convolutions that halve height and width (rounded up), then a linear map.

    Args:
        event_shape: (channels, height, width) of the image.
        out_shape: event shape of the output.
        channels: of the convolutions, one halving each; SiLU follows each.
        blocks: residual blocks after each halving.

    Shapes:
        (..., *event_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: `event_shape` is no image's, `channels` is empty, or the input does not end in `event_shape`.

    Example:
        >>> import torch
        >>> ConvEncoder((1, 28, 28), 10)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])
    """

    event_shape: Shape
    out_shape: Shape
    channels: Sequence[int] = (32, 64)
    blocks: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = _image(self, self.event_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self.channels = as_shape(self.channels)
        convs = strided([self._in[0], *self.channels], self.blocks)
        size = math.prod(halvings(self._in, self.channels)[-1])
        last = nn.Linear(self.channels[-1] * size, math.prod(self._out))
        self.layers = nn.Sequential(*convs, nn.Flatten(), last)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        lead = batch_shape(x, self._in, "ConvEncoder")
        out: Tensor = self.layers(x.reshape(math.prod(lead), *self._in))
        return out.reshape((*lead, *self._out))


@dataclass(eq=False)
class ConvDecoder(nn.Module):
    """From numbers to an image: a linear map, then transposed convolutions that double height and width.

    The sizes on the way are those of `ConvEncoder`, backwards, so that an image of 7 pixels comes out of 4, out of 2.
    Kernels are 4 wide where a size doubles, so that every pixel is reached from the same number of pixels below it,
    which avoids the checkerboard of Odena et al.; they are 3 wide where a size falls one short of double.

    Args:
        in_shape: event shape of the input; flattened.
        out_shape: (channels, height, width) of the image.
        channels: of the inputs of the transposed convolutions, one doubling each; SiLU precedes each.
        blocks: residual blocks before each doubling.

    Shapes:
        (..., *in_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: `out_shape` is no image's, `channels` is empty, or the input does not end in `in_shape`.

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
    blocks: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.in_shape = self._in = as_shape(self.in_shape)
        self.out_shape = self._out = _image(self, self.out_shape)
        self.channels = as_shape(self.channels)
        start = (self.channels[0], *halvings(self._out, self.channels)[-1])
        layers: list[nn.Module] = [nn.Linear(math.prod(self._in), math.prod(start)), nn.Unflatten(-1, start)]
        self.layers = nn.Sequential(*layers, *doublings(self.channels, self._out, self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        lead = batch_shape(x, self._in, "ConvDecoder")
        out: Tensor = self.layers(x.reshape(math.prod(lead), math.prod(self._in)))
        return out.reshape((*lead, *self._out))


@dataclass(eq=False)
class ConvNetwork(nn.Module):
    """From an image to one of the same size: a convolution, residual blocks, and a convolution.

    Args:
        event_shape: (channels, height, width) of the image.
        out_shape: (channels, height, width) of the output.
        width: channels inside.
        blocks: residual blocks.

    Shapes:
        (..., *event_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: height or width would change, or the input does not end in `event_shape`.

    Example:
        >>> import torch
        >>> ConvNetwork((3, 7, 9), (2, 7, 9))(torch.zeros(5, 4, 3, 7, 9)).shape
        torch.Size([5, 4, 2, 7, 9])
    """

    event_shape: Shape
    out_shape: Shape
    width: int = 64
    blocks: int = 1

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape, self.out_shape = self._in, out = as_shape(self.event_shape), as_shape(self.out_shape)
        if len(self._in) != 3 or len(out) != 3 or self._in[1:] != out[1:]:
            raise ValueError(
                f"ConvNetwork is for images (channels, height, width) of one size, got {self._in} and {out}: use Dense"
            )
        first, last = nn.Conv2d(self._in[0], self.width, 3, padding=1), nn.Conv2d(self.width, out[0], 3, padding=1)
        self.layers = nn.Sequential(first, *residuals(self.width, self.blocks), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        return flatten_batch(self.layers, x, self._in)


def _image(network: ConvEncoder | ConvDecoder, shape: Shape) -> tuple[int, ...]:
    sizes, who = as_shape(shape), type(network).__name__
    if len(sizes) != 3:
        raise ValueError(f"{who} is for images of shape (channels, height, width), got {sizes}: use Dense, or reshape")
    if not as_shape(network.channels):
        raise ValueError(f"{who} needs at least one convolution, such as channels=(32, 64), got channels=()")
    return sizes


def residuals(channels: int, blocks: int) -> list[nn.Module]:
    """So many residual blocks."""
    return [ResidualBlock(channels) for _ in range(blocks)]


def strided(channels: Sequence[int], blocks: int = 0, activation: Callable[[], nn.Module] = nn.SiLU) -> list[nn.Module]:
    """Layers from the first of `channels` to the last: a halving of height and width, then residual blocks, each."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), *residuals(b, blocks), activation()]
    return layers


def doublings(
    channels: Sequence[int], image: tuple[int, ...], blocks: int = 0, activation: Callable[[], nn.Module] = nn.SiLU
) -> list[nn.Module]:
    """Layers from the coarsest size to an `image` (channels, height, width): residual blocks, then a doubling, each."""
    layers: list[nn.Module] = []
    sizes = halvings(image, channels)[-2::-1]
    for (a, b), (height, width) in zip(itertools.pairwise([*channels, image[0]]), sizes, strict=True):
        kernel = (4 - height % 2, 4 - width % 2)
        layers += [*residuals(a, blocks), activation(), nn.ConvTranspose2d(a, b, kernel, stride=2, padding=1)]
    return layers


def halvings(shape: tuple[int, ...], channels: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width of the image, after one halving, after two, ..."""
    sizes = [(shape[1], shape[2])]
    for _ in channels:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
