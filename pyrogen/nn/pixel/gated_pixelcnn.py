"""Gated PixelCNN: a stack for the rows above and one for the row itself, so that no pixel stays unseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from pyrogen.nn.pixel.masked import MaskedConv2d, Painted
from pyrogen.nn.pixel.pixels import Canvas, PixelNetwork, Told
from pyrogen.nn.shapes import Shape

__all__ = ["GatedPixelCNN"]


@dataclass(eq=False)
class GatedPixelCNN(PixelNetwork):
    """Layers of two stacks: one sees the rows above in their whole width, the other what stands to the left as well.

    A layer gates what its convolutions give, tanh(a) sigmoid(b), and tells the second stack of the first. With enough
    layers, blocks * (kernel // 2) >= width of the image, every pixel before is seen.

    Args:
        event_shape: (channels, height, width) of an image, (height, width) of a grid of symbols.
        outputs: numbers for each element.
        width: of a state.
        blocks: number of layers.
        kernel: of a layer's convolutions; that of the first is 7 at least.
        symbols: how many there are; 0: values in [0, 1].
        context: numbers of a context that all pixels are told, or (channels, height, width) of a map of them; 0: none.

    Shapes:
        (rows, *event_shape), and (rows, context) or (rows, *context) -> (rows, height, width, channels, outputs).

    Raises:
        ValueError: `event_shape` is no image's; its channels do not divide `width`; an even kernel.

    Example:
        >>> import torch
        >>> GatedPixelCNN((1, 8, 8), width=4, blocks=2)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 8, 8, 1, 1])

    References:
        van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu 2016, arXiv:1606.05328.
    """

    event_shape: Shape
    outputs: int = 1
    width: int = 32
    blocks: int = 8
    kernel: int = 3
    symbols: int = 0
    context: Shape = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._ends(self.width)
        self.layers: Any = nn.ModuleList(
            _Layer(
                self._inside if first else self.width,
                self.width,
                max(self.kernel, 7) if first else self.kernel,
                self._channels,
                self.context,
                first,
            )
            for first in (block == 0 for block in range(self.blocks))
        )

    def _states(self, image: Tensor, context: Tensor | None) -> Tensor:
        above = beside = image
        for layer in self.layers:
            above, beside = layer(above, beside, context)
        return beside

    def _canvas(self, rows: int, context: Tensor | None) -> Canvas:
        return _Canvas(self, rows, context)


class _Layer(nn.Module):
    """From the states of both stacks (rows, inside, height, width) to the next ones (rows, width, height, width)."""

    def __init__(self, inside: int, width: int, kernel: int, channels: int, context: Shape, first: bool) -> None:
        super().__init__()
        self.channels, self.first, self.up, self.side = channels, first, kernel // 2, kernel // 2
        self.above = nn.Conv2d(inside, 2 * width, (self.up + 1, kernel))
        self.beside = MaskedConv2d(inside, 2 * width, (1, kernel), channels, own=not first)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = MaskedConv2d(width, width, 1, channels, own=True)
        self.told = Told(context, 2 * width)

    def forward(self, above: Tensor, beside: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both stacks one layer on."""
        told = self.told(context)
        rows = self.above(pad(above, (self.side, self.side, self.up, 0)))
        before = pad(rows, (0, 0, 1, 0))[:, :, :-1]  # of the rows above a pixel's own
        state = self.out(self.gate(self.beside(beside) + self.across(before) + told))
        return self.gate(rows + told), state if self.first else beside + state

    def gate(self, state: Tensor) -> Tensor:
        """tanh(a) sigmoid(b) for the halves a and b of each channel's group."""
        a, b = state.unflatten(1, (self.channels, 2, -1)).unbind(2)
        return (a.tanh() * b.sigmoid()).flatten(1, 2)


class _Canvas:
    """The rows above are computed a whole row at a time, as soon as it is complete."""

    def __init__(self, network: GatedPixelCNN, rows: int, context: Tensor | None) -> None:
        height, width = network._height, network._width
        self.layers = [_PaintedLayer(layer, rows, height, width, context) for layer in network.layers]
        self.image = self.layers[0].state.new_zeros(rows, network._inside, width)
        self.row = 0

    def paint(self, i: int, j: int, pixel: Tensor) -> None:
        self.image[:, :, j] = pixel
        self.layers[0].beside.paint(i, j, pixel)

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        if i > self.row:
            row = self.image[:, :, None]
            for layer in self.layers:
                row = layer.next_row(self.row, row)
            self.row = i
        for layer in self.layers:
            pixel = layer(i, j, pixel)
        return pixel


class _PaintedLayer:
    """A layer while images are drawn: `rows`, the states above so far, and `state`, what they tell of the next row."""

    def __init__(self, layer: _Layer, rows: int, height: int, width: int, context: Tensor | None) -> None:
        self.layer, self.told = layer, layer.told(context)
        self.beside, self.out = Painted(layer.beside, rows, height, width), Painted(layer.out, rows, 1, 1)
        shape = (rows, layer.above.in_channels, height + layer.up, width + 2 * layer.side)
        self.rows = layer.above.weight.new_zeros(shape)
        self.state = layer.across(self.rows.new_zeros(rows, layer.above.out_channels, 1, width))

    def next_row(self, i: int, row: Tensor) -> Tensor:
        """Take in the complete row i, (rows, inside, 1, width); the stack's next states of it."""
        layer = self.layer
        self.rows[:, :, i + layer.up : i + layer.up + 1, layer.side : layer.side + row.shape[-1]] = row
        above = layer.above(self.rows[:, :, i : i + layer.up + 1])
        self.state = layer.across(above)
        told = self.told if isinstance(self.told, float) or self.told.shape[2] == 1 else self.told[:, :, i : i + 1]
        return layer.gate(above + told)

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        """The second stack's next state at row i and column j."""
        state = self.beside(i, j, pixel) + self.state[:, :, 0, j] + Told.at(self.told, i, j)
        out = self.out(0, 0, self.layer.gate(state))
        return out if self.layer.first else pixel + out
