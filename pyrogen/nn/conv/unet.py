"""The U-Net: from an image to an image of the same size, by way of smaller ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyrogen.nn.conv.denoisers import Told
from pyrogen.nn.sequence.attention import AttentionBlock
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["UNet"]


class _Block(nn.Module):
    """Two convolutions, normalized first, beside what they add to; time and label scale and shift the second's input.

    Added before a normalization, they would be all but taken out by it where its groups have few channels.
    """

    def __init__(self, inputs: int, channels: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, channels, 3, padding=1))
        self.norm, self.told = _norm(channels), nn.Linear(told, 2 * channels)
        self.second = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.past = nn.Identity() if inputs == channels else nn.Conv2d(inputs, channels, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[..., None, None].chunk(2, 1)
        out: Tensor = self.past(x) + self.second(self.norm(self.first(x)) * (1 + scale) + shift)
        return out


@dataclass(eq=False)
class UNet(nn.Module):
    """From an image, a time and a label to an image: residual blocks at full size, at half of it, and so on, and back.

    Each halving (rounded up, so that any size will do) has its number of channels. On the way back every block also
    sees what the block of its size gave on the way down. At the smallest size all places look at each other.

    Args:
        event_shape: (channels, height, width) of the image.
        channels: at full size, at half of it, ...
        blocks: residual blocks at each size, down as well as up.
        labels: numbers in a label; 0: there is none.
        heads: of the attention at the smallest size, which must divide the last of `channels`; 0: no attention.
        width: of what blocks are told of time and label.

    Shapes:
        (..., *event_shape), time (...) between 0 and 1, label (..., labels) or None -> (..., *event_shape), for any
        leading dimensions, against which time and label broadcast. It starts as the function that is 0.

    Raises:
        ValueError: `event_shape` is no image's, `heads` does not divide; an input that does not end in `event_shape`,
            or a label of another size.

    Example:
        >>> UNet((1, 7, 9), channels=(8, 16))(torch.zeros(5, 1, 7, 9), torch.rand(5)).shape
        torch.Size([5, 1, 7, 9])

    References:
        Ronneberger, Fischer, Brox 2015, arXiv:1505.04597; Ho, Jain, Abbeel 2020, arXiv:2006.11239 (blocks and time);
        Nichol, Dhariwal 2021, arXiv:2102.09672 (time scales and shifts).
    """

    event_shape: Shape
    channels: Sequence[int] = (32, 64)
    blocks: int = 1
    labels: int = 0
    heads: int = 4
    width: int = 128

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._event = as_shape(self.event_shape)
        self.channels = tuple(as_shape(self.channels))
        if len(self._event) != 3:
            raise ValueError(
                f"UNet is for images of shape (channels, height, width), got {self._event}: use DenseDenoiser"
            )
        if not self.channels or self.blocks < 1:
            raise ValueError(f"UNet needs channels and blocks, got channels={self.channels} and blocks={self.blocks}")
        self.told = Told(self.labels, self.width, "UNet")
        first, last = self.channels[0], self.channels[-1]
        self.first = nn.Conv2d(self._event[0], first, 3, padding=1)
        below = [first, *self.channels[:-1]]
        self.down = nn.ModuleList(self._blocks(a, b) for a, b in zip(below, self.channels, strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in self.channels[:-1])
        self.middle = _Block(last, last, self.width)
        self.look = AttentionBlock(last, self.heads) if self.heads else None
        self.up = nn.ModuleList(self._blocks(c, c, c) for c in self.channels[::-1])
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for b, a in itertools.pairwise(self.channels[::-1]))
        self.last = nn.Sequential(_norm(first), nn.SiLU(), nn.Conv2d(first, self._event[0], 3, padding=1))
        nn.init.zeros_(self.last[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last[-1].bias)  # type: ignore[arg-type]

    def _blocks(self, inputs: int, channels: int, seen: int = 0) -> nn.ModuleList:
        sizes = [inputs, *[channels] * (self.blocks - 1)]
        return nn.ModuleList(_Block(size + seen, channels, self.width) for size in sizes)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """The outputs for `x` at `time`."""
        lead = batch_shape(x, self._event, "UNet")
        told = self.told(time, label, lead)
        out = self._image(x.reshape(math.prod(lead), *self._event), told.reshape(math.prod(lead), self.width))
        return out.reshape(x.shape)

    def _image(self, x: Tensor, told: Tensor) -> Tensor:
        x, seen = self.first(x), []
        for size, blocks in enumerate(self.down):
            x = self.shrink[size - 1](x) if size else x
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, told)
                seen.append(x)
        x = self.middle(x, told)
        if self.look is not None:
            x = self.look(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
        for size, blocks in enumerate(self.up):
            x = self.grow[size - 1](_doubled(x, seen[-1])) if size else x
            for block in blocks:  # type: ignore[attr-defined]
                x = block(torch.cat([x, seen.pop()], 1), told)
        out: Tensor = self.last(x)
        return out


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 4)), channels)


def _doubled(x: Tensor, like: Tensor) -> Tensor:
    """Every pixel as four, cut to the height and width of `like`."""
    batch, channels, height, width = x.shape
    twice = x[..., :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return twice.reshape(batch, channels, 2 * height, 2 * width)[..., : like.shape[-2], : like.shape[-1]]
