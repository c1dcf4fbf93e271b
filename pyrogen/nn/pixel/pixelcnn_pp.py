"""PixelCNN++: two streams that are halved and doubled again, told of what they were by shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad

from pyrogen.nn.pixel.pixels import Told
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["PixelCNNPlusPlus"]


@dataclass(eq=False)
class PixelCNNPlusPlus(nn.Module):
    """Outputs for whole pixels, by a stream that sees the rows above and one that sees what stands to the left as well.

    Gated residual blocks at the image's size, at half of it, and so on; then back, each block told of its counterpart.
    Images whose size cannot be halved so often are wider and higher inside.

    Args:
        event_shape: (channels, height, width) of an image.
        outputs: numbers for each pixel.
        width: of a state.
        blocks: at each size, on each way.
        sizes: how many.
        dropout: part of a block's numbers that is left out in training.
        context: numbers of a context that all pixels are told; 0: none.

    Shapes:
        (rows, *event_shape), and (rows, context) -> (rows, height, width, outputs).

    Raises:
        ValueError: `event_shape` is no image's.

    Example:
        >>> import torch
        >>> PixelCNNPlusPlus((3, 6, 6), outputs=100, width=4, blocks=1)(torch.zeros(5, 3, 6, 6)).shape
        torch.Size([5, 6, 6, 100])

    References:
        Salimans, Karpathy, Chen, Kingma 2017, arXiv:1701.05517 (here without weight normalization).
    """

    by_pixel: ClassVar[bool] = True

    event_shape: Shape
    outputs: int = 1
    width: int = 32
    blocks: int = 2
    sizes: int = 3
    dropout: float = 0.0
    context: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        if len(self._in) != 3:
            raise ValueError(f"PixelCNNPlusPlus is for images (channels, height, width), got {self._in}")
        self.unit = self._in[:1]
        inside = self._in[0] + 1  # a channel of ones tells where the image ends
        self.above = _Shifted(inside, self.width, (2, 3))
        self.row_above = _Shifted(inside, self.width, (1, 3))
        self.left = _Shifted(inside, self.width, (2, 1), right=True)
        told = {"context": self.context, "dropout": self.dropout}
        ways = [self.blocks] * self.sizes, [self.blocks, *[self.blocks + 1] * (self.sizes - 1)]
        self.down: Any
        self.up: Any
        self.down, self.up = (
            nn.ModuleList(nn.ModuleList(_Pair(self.width, back, **told) for _ in range(blocks)) for blocks in way)
            for back, way in enumerate(ways)
        )
        self.halved = nn.ModuleList(_Resized(self.width, _Shifted) for _ in range(self.sizes - 1))
        self.doubled = nn.ModuleList(_Resized(self.width, _Doubled) for _ in range(self.sizes - 1))
        self.last = nn.Conv2d(self.width, self.outputs, 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs for `x`."""
        batch_shape(x, self._in, "PixelCNNPlusPlus")
        return self._outputs(x, context)

    def steps(self, rows: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """The outputs pixel by pixel, in order; the rows that are still empty are left out."""
        width = self._in[2]

        def step(place: int, x: Tensor) -> Tensor:
            i, j = divmod(place, width)
            image = x[:, : (i + 1) * width].reshape(rows, i + 1, width, -1).movedim(-1, 1)
            return self._outputs(image, context)[:, i, j]

        return step

    def _outputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        height, width = x.shape[2:]
        unit = 2 ** (self.sizes - 1)
        x = torch.cat([2 * x - 1, torch.ones_like(x[:, :1])], 1)
        x = pad(x, (0, -width % unit, 0, -height % unit))
        streams = _down(self.above(x)), _down(self.row_above(x)) + _right(self.left(x))
        kept = list(self._way_down(streams, context))
        streams = kept.pop()
        for size, pairs in enumerate(self.up):
            for pair in pairs:
                streams = pair(*streams, context, kept.pop())
            if size < self.sizes - 1:
                streams = self.doubled[size](*streams)
        out: Tensor = self.last(elu(streams[1]))
        return out[:, :, :height, :width].permute(0, 2, 3, 1)

    def _way_down(self, streams: tuple[Tensor, Tensor], context: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Both streams, as they were and after each step."""
        yield streams
        for size, pairs in enumerate(self.down):
            for pair in pairs:
                streams = pair(*streams, context)
                yield streams
            if size < self.sizes - 1:
                streams = self.halved[size](*streams)
                yield streams


class _Shifted(nn.Module):
    """A convolution that sees its row and those above; with `right`, its column and those to the left, and no other."""

    def __init__(self, inside: int, outside: int, kernel: tuple[int, int], right: bool = False, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride)
        above, beside = kernel[0] - 1, kernel[1] - 1
        self.pad = (beside, 0, above, 0) if right else (beside // 2, beside // 2, above, 0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(pad(x, self.pad))
        return out


class _Doubled(nn.Module):
    """A transposed convolution to twice the size, of which each pixel sees what `_Shifted` does."""

    def __init__(self, inside: int, outside: int, kernel: tuple[int, int], right: bool = False, stride: int = 2):
        super().__init__()
        self.conv, self.cut = nn.ConvTranspose2d(inside, outside, kernel, stride), kernel[1] - stride

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out[..., self.cut :]


_ABOVE, _LEFT = (2, 3), (2, 2)
"""Kernels of the two streams."""


class _Resized(nn.Module):
    """Both streams at half, or twice, the size."""

    def __init__(self, width: int, kind: type[_Shifted] | type[_Doubled]) -> None:
        super().__init__()
        self.above, self.left = kind(width, width, _ABOVE, stride=2), kind(width, width, _LEFT, right=True, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return self.above(above), self.left(left)


class _Pair(nn.Module):
    """A block of each stream; the second is told of the first, and on the way `back` both of their counterparts."""

    def __init__(self, width: int, back: int, **told: float) -> None:
        super().__init__()
        self.above = _Block(width, _ABOVE, False, back * width, **told)
        self.left = _Block(width, _LEFT, True, width + back * width, **told)

    def forward(
        self, above: Tensor, left: Tensor, context: Tensor | None, kept: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        above = self.above(above, context, [] if kept is None else [kept[0]])
        return above, self.left(left, context, [above] if kept is None else [above, kept[1]])


class _Block(nn.Module):
    """x + a sigmoid(b), for what two convolutions make of x, beside others' states and a context."""

    def __init__(
        self, width: int, kernel: tuple[int, int], right: bool, beside: int, *, context: float, dropout: float
    ) -> None:
        super().__init__()
        self.look = _Shifted(2 * width, width, kernel, right)
        self.beside = nn.Conv2d(2 * beside, width, 1) if beside else None
        self.drop = nn.Dropout(dropout)
        self.tell = _Shifted(2 * width, 2 * width, kernel, right)
        self.told = Told(int(context), 2 * width)

    def forward(self, x: Tensor, context: Tensor | None, beside: list[Tensor]) -> Tensor:
        inner = self.look(_both_ways(x))
        if self.beside is not None:
            inner = inner + self.beside(_both_ways(torch.cat(beside, 1)))
        a, b = (self.tell(self.drop(_both_ways(inner))) + self.told(context)).chunk(2, 1)
        return x + a * b.sigmoid()


def _both_ways(x: Tensor) -> Tensor:
    """ELU of x and of -x."""
    return elu(torch.cat([x, -x], 1))


def _down(x: Tensor) -> Tensor:
    """Each row told of the one above in place of its own."""
    return pad(x, (0, 0, 1, 0))[:, :, :-1]


def _right(x: Tensor) -> Tensor:
    """Each column told of the one to its left in place of its own."""
    return pad(x, (1, 0))[..., :-1]
