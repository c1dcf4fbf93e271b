"""Gated PixelCNN: a vertical and a horizontal stack of convolutions, without a blind spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.pixel.incremental import IncrementalMaskedConv2d
from pyrogen.nn.pixel.masked import MaskedConv2d, shift_down
from pyrogen.nn.pixel.pixels import IncrementalNetwork, PixelContext, PixelNetwork
from pyrogen.nn.shapes import Shape


@dataclass(eq=False)
class GatedPixelCNN(PixelNetwork):
    """Gated PixelCNN: a vertical stack over all rows above, and a horizontal stack over what is to the left as well.

    The outputs of a layer's convolutions are gated, tanh(a) sigmoid(b), and the vertical stack is an input of the
    horizontal one. With enough layers, blocks * (kernel // 2) >= width of the image, every pixel before is in the
    receptive field.

    Args:
        event_shape: (channels, height, width) of an image, or (height, width) of a grid of symbols.
        outputs: number of outputs for each element, 1 by default.
        width: number of channels of a state, which the image's channels divide; 32 by default.
        blocks: number of layers, 8 by default.
        kernel: size of a layer's convolutions, odd; 3 by default, and at least 7 in the first layer.
        symbols: number of symbols; 0, the default, for values in [0, 1].
        context: size of a context vector on which all outputs depend, or (channels, height, width) of a map; 0, the
            default, without one.

    Raises:
        ValueError: `event_shape` is neither an image's nor a grid's, its channels do not divide `width`, or `kernel` is
            even.

    Example:
        >>> import torch
        >>> GatedPixelCNN((1, 8, 8), width=4, blocks=2)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 8, 8, 1, 1])

    References:
        van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu 2016, arXiv:1606.05328.
    """

    event_shape: Shape
    outputs: Count = 1
    width: Count = 32
    blocks: CountOrZero = 8
    kernel: Count = 3
    symbols: CountOrZero = 0
    context: Shape = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._add_ends(self.width)
        first, rest = (self._in_channels, max(self.kernel, 7)), (self.width, self.kernel)
        self.layers: Any = nn.ModuleList(
            _GatedLayer(*(rest if block else first), self.width, self._channels, self.context, first=not block)
            for block in range(self.blocks)
        )

    def _states(self, image: Tensor, context: Tensor | None) -> Tensor:
        vertical = horizontal = image
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, context)
        return horizontal

    def _incremental(self, batch_size: int, context: Tensor | None) -> IncrementalNetwork:
        height, width = self._height, self._width
        layers = [_IncrementalGatedLayer(layer, batch_size, height, width, context) for layer in self.layers]
        pixels = layers[0].above.new_zeros(batch_size, self._in_channels, 1, width)

        def set_pixel(i: int, j: int, pixel: Tensor) -> None:
            pixels[:, :, 0, j] = pixel
            layers[0].horizontal_conv.set_pixel(i, j, pixel)
            if j == width - 1:  # the row is complete: the vertical stack is computed a row at a time
                row = pixels
                for layer in layers:
                    row = layer.next_row(i, row)

        def states(i: int, j: int, pixel: Tensor) -> Tensor:
            for layer in layers:
                pixel = layer(i, j, pixel)
            return pixel

        return set_pixel, states


class _GatedLayer(nn.Module):
    """From the states of both stacks (batch, in_channels, height, width) to the next (batch, width, height, width)."""

    def __init__(self, in_channels: int, kernel: int, width: int, groups: int, context: Shape, first: bool) -> None:
        super().__init__()
        self.groups, self.first, self.padding = groups, first, kernel // 2
        self.vertical_conv = nn.Conv2d(in_channels, 2 * width, (self.padding + 1, kernel))
        self.horizontal_conv = MaskedConv2d(in_channels, 2 * width, (1, kernel), groups, "A" if first else "B")
        self.vertical_to_horizontal = nn.Conv2d(2 * width, 2 * width, 1)
        self.output_conv = MaskedConv2d(width, width, 1, groups, "B")
        self.context_embedding = PixelContext(context, 2 * width)

    def forward(self, vertical: Tensor, horizontal: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        embedding = self.context_embedding(context)
        rows = self.vertical_conv(pad(vertical, (self.padding, self.padding, self.padding, 0)))
        above = self.vertical_to_horizontal(shift_down(rows))
        state = self.output_conv(self.gate(self.horizontal_conv(horizontal) + above + embedding))
        return self.gate(rows + embedding), state if self.first else horizontal + state

    def gate(self, state: Tensor) -> Tensor:
        """tanh(a) sigmoid(b) for the halves a and b of each channel's group."""
        a, b = state.unflatten(1, (self.groups, 2, -1)).unbind(2)
        return (a.tanh() * b.sigmoid()).flatten(1, 2)


class _IncrementalGatedLayer:
    """A layer in incremental evaluation: the vertical stack's `rows` so far, and what they add to the next, `above`."""

    def __init__(self, layer: _GatedLayer, batch_size: int, height: int, width: int, context: Tensor | None) -> None:
        self.layer, self.embedding = layer, layer.context_embedding(context)
        self.horizontal_conv = IncrementalMaskedConv2d(layer.horizontal_conv, batch_size, height, width)
        self.output_conv = IncrementalMaskedConv2d(layer.output_conv, batch_size, 1, 1)
        conv, padding = layer.vertical_conv, layer.padding
        self.rows = conv.weight.new_zeros(batch_size, conv.in_channels, height + padding, width + 2 * padding)
        self.above = layer.vertical_to_horizontal(self.rows.new_zeros(batch_size, conv.out_channels, 1, width))

    def next_row(self, i: int, row: Tensor) -> Tensor:
        """Add the complete row i, (batch_size, in_channels, 1, width); the vertical stack's next states of it."""
        layer, padding = self.layer, self.layer.padding
        self.rows[:, :, i + padding : i + padding + 1, padding : padding + row.shape[-1]] = row
        state = layer.vertical_conv(self.rows[:, :, i : i + padding + 1])
        self.above = layer.vertical_to_horizontal(state)
        return layer.gate(state + PixelContext.row(self.embedding, i))

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        """The horizontal stack's next state at row i and column j."""
        state = self.horizontal_conv(i, j, pixel) + self.above[:, :, 0, j] + PixelContext.at(self.embedding, i, j)
        out = self.output_conv(0, 0, self.layer.gate(state))
        return out if self.layer.first else pixel + out
