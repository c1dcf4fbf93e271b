"""The U-Net: a network between images of the same size, through smaller ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.conv.denoisers import TimeLabelEmbedding
from pyrogen.nn.sequence.attention import AttentionBlock
from pyrogen.nn.shapes import Shape, as_shape, batch_shape, image_shape


class _ResidualBlock(nn.Module):
    """Two convolutions with pre-normalization and a shortcut; the embedding scales and shifts the input of the second.

    Added before a normalization instead, it would be nearly removed where the groups have few channels.
    """

    def __init__(self, inputs: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, channels, 3, padding=1))
        self.norm, self.scale_shift = _norm(channels), nn.Linear(embedding, 2 * channels)
        self.second = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.shortcut = nn.Identity() if inputs == channels else nn.Conv2d(inputs, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.scale_shift(embedding)[..., None, None].chunk(2, 1)
        return self.shortcut(x) + self.second(self.norm(self.first(x)) * (1 + scale) + shift)


@dataclass(eq=False)
class UNet(nn.Module):
    """U-Net from an image, a time and a label to an image; it is initialized as the zero function.

    Residual blocks at full size, at half of it (rounded up, so that any size will do), and so on, then back, each block
    with a skip connection from its counterpart. At the smallest size there is self-attention between all pixels.

    Args:
        event_shape: (channels, height, width) of the image.
        channels: numbers of channels at full size, at half of it, ...; (32, 64) by default.
        blocks: residual blocks at each size on the way down, and as many on the way up; 1 by default.
        labels: size of a label vector; 0, the default, without labels.
        heads: attention heads at the smallest size, which must divide the last of `channels`; 4 by default, 0 for no
            attention.
        width: size of the embedding of time and label, 128 by default.

    Raises:
        ValueError: `event_shape` is not (channels, height, width), `channels` is empty, `blocks` is below 1, or `heads`
            does not divide the last of `channels`.

    Example:
        >>> UNet((1, 7, 9), channels=(8, 16))(torch.zeros(5, 1, 7, 9), torch.rand(5)).shape
        torch.Size([5, 1, 7, 9])

    References:
        Ronneberger, Fischer, Brox 2015, arXiv:1505.04597; Ho, Jain, Abbeel 2020, arXiv:2006.11239 (blocks and time);
        Nichol, Dhariwal 2021, arXiv:2102.09672 (scale and shift).
    """

    event_shape: Shape
    channels: Sequence[int] = (32, 64)
    blocks: CountOrZero = 1
    labels: CountOrZero = 0
    heads: CountOrZero = 4
    width: Count = 128

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._event = image_shape(self.event_shape, "UNet", "use DenseDenoiser")
        self.channels = tuple(as_shape(self.channels))
        if not self.channels or self.blocks < 1:
            raise ValueError(f"UNet needs channels and blocks, got channels={self.channels} and blocks={self.blocks}")
        self.embedding = TimeLabelEmbedding(self.labels, self.width, "UNet")
        first, last = self.channels[0], self.channels[-1]
        self.first = nn.Conv2d(self._event[0], first, 3, padding=1)
        inputs = [first, *self.channels[:-1]]
        self.down = nn.ModuleList(self._blocks(a, b) for a, b in zip(inputs, self.channels, strict=True))
        self.downsample = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in self.channels[:-1])
        self.middle = _ResidualBlock(last, last, self.width)
        self.attention = AttentionBlock(last, self.heads) if self.heads else None
        self.up = nn.ModuleList(self._blocks(c, c, c) for c in self.channels[::-1])
        self.upsample = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for b, a in itertools.pairwise(self.channels[::-1]))
        self.last = nn.Sequential(_norm(first), nn.SiLU(), nn.Conv2d(first, self._event[0], 3, padding=1))
        for parameter in self.last[-1].parameters():
            nn.init.zeros_(parameter)

    def _blocks(self, inputs: int, channels: int, skip: int = 0) -> nn.ModuleList:
        sizes = [inputs, *[channels] * (self.blocks - 1)]
        return nn.ModuleList(_ResidualBlock(size + skip, channels, self.width) for size in sizes)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Apply the network.

        Args:
            x: images of shape (..., *event_shape), with any batch dimensions.
            time: times between 0 and 1, of a shape that broadcasts to the batch dimensions.
            label: label vectors (..., labels), which broadcast likewise; None, the default, acts as zeros.

        Returns:
            Images of the shape of `x`.
        """
        lead = batch_shape(x, self._event, "UNet")
        embedding = self.embedding(time, label, lead).reshape(math.prod(lead), self.width)
        image, skips = self.first(x.reshape(math.prod(lead), *self._event)), []
        for size, blocks in enumerate(self.down):
            image = self.downsample[size - 1](image) if size else image
            for block in blocks:  # type: ignore[attr-defined]
                image = block(image, embedding)
                skips.append(image)
        image = self.middle(image, embedding)
        if self.attention is not None:
            image = self.attention(image.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(image.shape)
        for size, blocks in enumerate(self.up):
            image = self.upsample[size - 1](_double(image, skips[-1])) if size else image
            for block in blocks:  # type: ignore[attr-defined]
                image = block(torch.cat([image, skips.pop()], 1), embedding)
        return self.last(image).reshape(x.shape)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 4)), channels)


def _double(x: Tensor, like: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2, cropped to the height and width of `like`."""
    batch, channels, height, width = x.shape
    twice = x[..., :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return twice.reshape(batch, channels, 2 * height, 2 * width)[..., : like.shape[-2], : like.shape[-1]]
