"""PixelRNN: recurrent networks over the rows, or the diagonals, of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.pixel.incremental import IncrementalLayer, IncrementalMaskedConv2d
from pyrogen.nn.pixel.masked import MaskedConv2d, shift_down
from pyrogen.nn.pixel.pixels import ResidualPixelNetwork
from pyrogen.nn.shapes import Shape


@dataclass(eq=False)
class PixelRNN(ResidualPixelNetwork):
    """PixelRNN: a masked convolution, then residual layers of LSTMs over the image.

    "row": the state of a pixel depends on three states of the row above and on the pixels to its left, row by row.
    "diagonal" (diagonal BiLSTM): it depends on the states to its left and above, and a second LSTM, from the right and
    above, adds its state in the row above. So every pixel before is in the receptive field, except for the last one of
    the row above where the first convolution does not reach it.

    Args:
        event_shape: (channels, height, width) of an image, or (height, width) of a grid of symbols.
        outputs: number of outputs for each element, 1 by default.
        width: size of an LSTM's state, which the image's channels divide; 16 by default. There are twice as many
            channels between layers.
        layers: number of layers, 3 by default.
        kind: "row", the default, or "diagonal".
        kernel: size of the first convolution, odd; 7 by default.
        symbols: number of symbols; 0, the default, for values in [0, 1].
        context: size of a context vector on which all outputs depend, or (channels, height, width) of a map; 0, the
            default, without one.

    Raises:
        ValueError: `kind` is unknown, `event_shape` is neither an image's nor a grid's, its channels do not divide
            `width`, or `kernel` is even.

    Example:
        >>> import torch
        >>> PixelRNN((1, 8, 8), width=4, layers=2, kind="diagonal")(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 8, 8, 1, 1])

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    event_shape: Shape
    outputs: Count = 1
    width: Count = 16
    layers: Count = 3
    kind: Literal["row", "diagonal"] = "row"
    kernel: Count = 7
    symbols: CountOrZero = 0
    context: Shape = 0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"PixelRNN: kind is one of {', '.join(_KINDS)}, got {self.kind!r}")
        super().__post_init__()

    def _layers(self, states: int) -> Iterable[nn.Module]:
        return (_KINDS[self.kind][0](states, self.width, self._channels) for _ in range(self.layers))

    def _incremental_layer(self, layer: Any, batch_size: int) -> IncrementalLayer:
        return _KINDS[self.kind][1](layer, batch_size, self._width)


def _lstm(gates: Tensor, cell: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The next hidden state and cell (batch, width, ...), of four gates (batch, 4 width, ...) in groups."""
    out, forget, add, new = gates.unflatten(1, (groups, 4, -1)).transpose(1, 2).flatten(2, 3).unbind(1)
    cell = forget.sigmoid() * cell + add.sigmoid() * new.tanh()
    return out.sigmoid() * cell.tanh(), cell


class _RowLSTM(nn.Module):
    """An LSTM from row to row, from states (batch, states, height, width) to what is added to them."""

    def __init__(self, states: int, width: int, groups: int) -> None:
        super().__init__()
        self.width, self.groups = width, groups
        self.input_conv = MaskedConv2d(states, 4 * width, (1, 3), groups, "B")
        self.state_conv = nn.Conv1d(width, 4 * width, 3, padding=1, bias=False)
        self.output_conv = MaskedConv2d(width, states, 1, groups, "B")

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = x.new_zeros(len(x), self.width, x.shape[-1])
        states = []
        for gates in self.input_conv(x).unbind(2):
            hidden, cell = _lstm(gates + self.state_conv(hidden), cell, self.groups)
            states.append(hidden)
        return self.output_conv(torch.stack(states, 2))


class _IncrementalRowLSTM:
    """The layer in incremental evaluation.

    `hidden` and `cell` are the states of the row so far; `gates`, what the row above adds to its gates, and `cells`,
    the cells of the row above.
    """

    def __init__(self, layer: _RowLSTM, batch_size: int, width: int) -> None:
        self.layer = layer
        self.input_conv = IncrementalMaskedConv2d(layer.input_conv, batch_size, 1, width)
        self.output_conv = IncrementalMaskedConv2d(layer.output_conv, batch_size, 1, 1)
        self.hidden = self.input_conv.image.new_zeros(batch_size, layer.width, width)
        self.cell, self.row = self.hidden.clone(), 0
        self._next_row()

    def _next_row(self) -> None:
        self.gates, self.cells = self.layer.state_conv(self.hidden), self.cell.clone()

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        if i > self.row:
            self._next_row()
            self.row = i
        gates = self.input_conv(0, j, pixel) + self.gates[:, :, j]
        hidden, self.cell[:, :, j] = _lstm(gates, self.cells[:, :, j], self.layer.groups)
        self.hidden[:, :, j] = hidden
        return self.output_conv(0, 0, hidden)


class _DiagonalLSTM(nn.Module):
    """LSTMs along both kinds of diagonals, from states (batch, states, height, width) to what is added to them."""

    def __init__(self, states: int, width: int, groups: int) -> None:
        super().__init__()
        self.width, self.groups = width, groups
        self.input_conv = MaskedConv2d(states, 4 * width, 1, groups, "B")
        self.input_conv_right = nn.Conv2d(states, 4 * width, 1)
        self.state_conv, self.state_conv_right = (nn.Conv1d(width, 4 * width, 2, bias=False) for _ in range(2))
        self.output_conv = MaskedConv2d(width, states, 1, groups, "B")

    def forward(self, x: Tensor) -> Tensor:
        left = self._along(self.input_conv(x), self.state_conv)
        right = self._along(self.input_conv_right(x.flip(-1)), self.state_conv_right).flip(-1)
        return self.output_conv(left + shift_down(right))

    def _along(self, gates: Tensor, state_conv: nn.Module) -> Tensor:
        """States (batch, width, height, width of the image), each a function of those to its left and above."""
        height, width = gates.shape[2:]
        hidden = cell = gates.new_zeros(len(gates), self.width, height)
        states = []
        for diagonal in _skew(gates).unbind(-1):
            hidden, cell = _lstm(diagonal + state_conv(pad(hidden, (1, 0))), cell, self.groups)
            states.append(hidden)
        return _unskew(torch.stack(states, -1), width)


def _skew(x: Tensor) -> Tensor:
    """Row i of `x` (..., height, width) moved i to the right, (..., height, width + height - 1), zeros beside."""
    height, width = x.shape[-2:]
    flat = pad(x, (0, height)).flatten(-2)[..., : height * (width + height - 1)]
    return flat.unflatten(-1, (height, width + height - 1))


def _unskew(x: Tensor, width: int) -> Tensor:
    """The inverse of `_skew`."""
    height = x.shape[-2]
    return pad(x.flatten(-2), (0, height)).unflatten(-1, (height, width + height))[..., :width]


class _IncrementalDiagonalLSTM:
    """The layer in incremental evaluation.

    `hidden` and `cell` are the states of the row from the left so far, `above` those of the row above from the left,
    and `right` those of the row above from the right; each with one more column of zeros before the first.
    """

    def __init__(self, layer: _DiagonalLSTM, batch_size: int, width: int) -> None:
        self.layer, self.row = layer, 0
        self.input_conv = IncrementalMaskedConv2d(layer.input_conv, batch_size, 1, 1)
        self.output_conv = IncrementalMaskedConv2d(layer.output_conv, batch_size, 1, 1)
        zeros = self.input_conv.image.new_zeros(batch_size, layer.width, width + 1)
        self.hidden, self.cell, self.above, self.right = (zeros.clone() for _ in range(4))
        self.pixels = zeros.new_zeros(batch_size, layer.input_conv.in_channels, 1, width)

    def _next_row(self) -> None:
        """Compute the complete row from the right, and begin the next."""
        layer, gates = self.layer, self.layer.input_conv_right(self.pixels)[:, :, 0]
        hidden = cell = torch.zeros_like(self.cell[:, :, 0])
        states = self.right.clone()
        for j in reversed(range(gates.shape[-1])):
            inputs = torch.stack([self.right[:, :, j + 1], hidden], -1)
            hidden, cell = _lstm(gates[:, :, j] + layer.state_conv_right(inputs)[..., 0], cell, layer.groups)
            states[:, :, j + 1] = hidden
        self.right, self.above = states, self.hidden.clone()

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        if i > self.row:
            self._next_row()
            self.row = i
        self.pixels[:, :, 0, j] = pixel
        inputs = torch.stack([self.above[:, :, j + 1], self.hidden[:, :, j]], -1)
        gates = self.input_conv(0, 0, pixel) + self.layer.state_conv(inputs)[..., 0]
        hidden, self.cell[:, :, j + 1] = _lstm(gates, self.cell[:, :, j], self.layer.groups)
        self.hidden[:, :, j + 1] = hidden
        return self.output_conv(0, 0, hidden + self.right[:, :, j + 1])


_KINDS: Any = {"row": (_RowLSTM, _IncrementalRowLSTM), "diagonal": (_DiagonalLSTM, _IncrementalDiagonalLSTM)}
