"""Convolutional layers that keep, halve or double the size of an image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.annotations import Count


@dataclass(eq=False)
class ResidualBlock(nn.Module):
    """Residual block with pre-activation: x + conv(SiLU(conv(SiLU(x)))), both convolutions 3 by 3.

    Args:
        channels: number of channels of the image.

    Example:
        >>> import torch
        >>> ResidualBlock(4)(torch.zeros(5, 4, 7, 7)).shape
        torch.Size([5, 4, 7, 7])

    References:
        He, Zhang, Ren, Sun 2016, arXiv:1603.05027 (pre-activation).
    """

    channels: Count

    def __post_init__(self) -> None:
        super().__init__()
        convs = (nn.Conv2d(self.channels, self.channels, 3, padding=1) for _ in range(2))
        self.layers = nn.Sequential(*(layer for conv in convs for layer in (nn.SiLU(), conv)))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: images of shape (batch, channels, height, width).

        Returns:
            Images of the same shape.
        """
        return x + self.layers(x)


def residual_blocks(channels: int, blocks: int) -> list[nn.Module]:
    """Build residual blocks.

    Args:
        channels: number of channels of the image.
        blocks: number of blocks.

    Returns:
        The blocks.
    """
    return [ResidualBlock(channels) for _ in range(blocks)]


def downsampling_layers(
    channels: Sequence[int], blocks: int = 0, activation: Callable[[], nn.Module] = nn.SiLU
) -> list[nn.Module]:
    """Build layers that halve height and width (rounded up) once for each pair of neighbouring channels.

    Args:
        channels: numbers of channels, of the image first.
        blocks: residual blocks after each strided convolution, 0 by default.
        activation: constructor of the activation after them, SiLU by default.

    Returns:
        The layers, from the image to the coarsest size.
    """
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), *residual_blocks(b, blocks), activation()]
    return layers


def upsampling_layers(
    channels: Sequence[int], image: tuple[int, ...], blocks: int = 0, activation: Callable[[], nn.Module] = nn.SiLU
) -> list[nn.Module]:
    """Build transposed convolutions that double height and width, back through the sizes of `downsampled_sizes`.

    Args:
        channels: numbers of channels of the inputs of the transposed convolutions, coarsest first.
        image: (channels, height, width) of the image.
        blocks: residual blocks before each transposed convolution, 0 by default.
        activation: constructor of the activation between them, SiLU by default.

    Returns:
        The layers, from the coarsest size to the image.
    """
    layers: list[nn.Module] = []
    sizes = downsampled_sizes(image, channels)[-2::-1]
    for (a, b), (height, width) in zip(itertools.pairwise([*channels, image[0]]), sizes, strict=True):
        kernel = (4 - height % 2, 4 - width % 2)
        layers += [*residual_blocks(a, blocks), activation(), nn.ConvTranspose2d(a, b, kernel, stride=2, padding=1)]
    return layers


def downsampled_sizes(image: tuple[int, ...], channels: Sequence[int]) -> list[tuple[int, int]]:
    """Compute the sizes of an image that is halved (rounded up) once for each number of channels.

    Args:
        image: (channels, height, width) of the image.
        channels: numbers of channels after each halving.

    Returns:
        (height, width) of the image, after one halving, after two, ...

    Raises:
        ValueError: `channels` is empty.

    Example:
        >>> downsampled_sizes((1, 28, 28), (32, 64))
        [(28, 28), (14, 14), (7, 7)]
    """
    if not channels:
        raise ValueError("channels= needs a number of channels for at least one convolution, such as (32, 64); got ()")
    sizes = [(image[1], image[2])]
    for _ in channels:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
