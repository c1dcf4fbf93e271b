"""PixelRNN: recurrent networks over the rows, or the diagonals, of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pyrogen.nn.pixel.masked import Brush, MaskedConv2d, Painted
from pyrogen.nn.pixel.pixels import ResidualPixelNetwork
from pyrogen.nn.shapes import Shape

__all__ = ["PixelRNN"]


@dataclass(eq=False)
class PixelRNN(ResidualPixelNetwork):
    """A masked convolution, then layers of LSTMs whose states run over the image.

    "row": the state of a pixel comes from three states of the row above and from the pixels to its left, row by row.
    "diagonal": it comes from those of the pixels to its left and above, and another one, from the right and above, adds
    what the row above tells. So every pixel before is seen, but for the last one of the row above where the first
    convolution does not reach it.

    Args:
        event_shape: (channels, height, width) of an image, (height, width) of a grid of symbols.
        outputs: numbers for each element.
        width: of a state; layers have twice as many channels between them.
        layers: of LSTMs.
        kind: "row" or "diagonal".
        kernel: of the first convolution.
        symbols: how many there are; 0: values in [0, 1].
        context: numbers of a context that all pixels are told, or (channels, height, width) of a map of them; 0: none.

    Shapes:
        (rows, *event_shape), and (rows, context) or (rows, *context) -> (rows, height, width, channels, outputs).

    Raises:
        ValueError: an unknown kind; `event_shape` is no image's; its channels do not divide `width`; an even kernel.

    Example:
        >>> import torch
        >>> PixelRNN((1, 8, 8), width=4, layers=2, kind="diagonal")(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 8, 8, 1, 1])

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    event_shape: Shape
    outputs: int = 1
    width: int = 16
    layers: int = 3
    kind: Literal["row", "diagonal"] = "row"
    kernel: int = 7
    symbols: int = 0
    context: Shape = 0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"PixelRNN: kind is one of {', '.join(_KINDS)}, got {self.kind!r}")
        super().__post_init__()

    def _layers(self, wide: int) -> Iterable[nn.Module]:
        return (_KINDS[self.kind](wide, self.width, self._channels) for _ in range(self.layers))

    def _painted(self, layer: _RowLSTM | _DiagonalLSTM, rows: int) -> Brush:
        return layer.painted(rows, self._height, self._width)


def _lstm(gates: Tensor, cell: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The next hidden state and cell (rows, width, ...), of four gates (rows, 4 width, ...) in groups."""
    out, forget, add, new = gates.unflatten(1, (groups, 4, -1)).transpose(1, 2).flatten(2, 3).unbind(1)
    cell = forget.sigmoid() * cell + add.sigmoid() * new.tanh()
    return out.sigmoid() * cell.tanh(), cell


class _RowLSTM(nn.Module):
    """An LSTM from row to row, of states (rows, inside, height, width)."""

    def __init__(self, inside: int, width: int, groups: int) -> None:
        super().__init__()
        self.width, self.groups = width, groups
        self.look = MaskedConv2d(inside, 4 * width, (1, 3), groups, own=True)
        self.go_on = nn.Conv1d(width, 4 * width, 3, padding=1, bias=False)
        self.out = MaskedConv2d(width, inside, 1, groups, own=True)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer adds."""
        hidden = cell = x.new_zeros(len(x), self.width, x.shape[-1])
        states = []
        for gates in self.look(x).unbind(2):
            hidden, cell = _lstm(gates + self.go_on(hidden), cell, self.groups)
            states.append(hidden)
        out: Tensor = self.out(torch.stack(states, 2))
        return out

    def painted(self, rows: int, height: int, width: int) -> _PaintedRows:
        """The layer of images that come pixel by pixel."""
        return _PaintedRows(self, rows, height, width)


class _PaintedRows:
    """`ahead`: what the row above tells of this one; `cells`: its cells; `hidden`, `cell`: this row so far."""

    def __init__(self, layer: _RowLSTM, rows: int, height: int, width: int) -> None:
        self.layer = layer
        self.look, self.out = Painted(layer.look, rows, height, width), Painted(layer.out, rows, 1, 1)
        self.hidden = self.look.image.new_zeros(rows, layer.width, width)
        self.cell, self.row = self.hidden.clone(), 0
        self._turn()

    def _turn(self) -> None:
        self.ahead, self.cells = self.layer.go_on(self.hidden), self.cell.clone()

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        if i > self.row:
            self._turn()
            self.row = i
        gates = self.look(i, j, pixel) + self.ahead[:, :, j]
        hidden, self.cell[:, :, j] = _lstm(gates, self.cells[:, :, j], self.layer.groups)
        self.hidden[:, :, j] = hidden
        return self.out(0, 0, hidden)


class _DiagonalLSTM(nn.Module):
    """LSTMs along both kinds of diagonals, of states (rows, inside, height, width)."""

    def __init__(self, inside: int, width: int, groups: int) -> None:
        super().__init__()
        self.width, self.groups = width, groups
        self.look = MaskedConv2d(inside, 4 * width, 1, groups, own=True)
        self.look_right = nn.Conv2d(inside, 4 * width, 1)
        self.go_on, self.go_on_right = (nn.Conv1d(width, 4 * width, 2, bias=False) for _ in range(2))
        self.out = MaskedConv2d(width, inside, 1, groups, own=True)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer adds."""
        left = self._along(self.look(x), self.go_on)
        right = self._along(self.look_right(x.flip(-1)), self.go_on_right).flip(-1)
        out: Tensor = self.out(left + pad(right, (0, 0, 1, 0))[:, :, :-1])
        return out

    def _along(self, gates: Tensor, go_on: nn.Module) -> Tensor:
        """States (rows, width, height, width of the image), each from those to its left and above."""
        height, width = gates.shape[2:]
        hidden = cell = gates.new_zeros(len(gates), self.width, height)
        states = []
        for diagonal in _skewed(gates).unbind(-1):
            hidden, cell = _lstm(diagonal + go_on(pad(hidden, (1, 0))), cell, self.groups)
            states.append(hidden)
        return _straight(torch.stack(states, -1), width)

    def painted(self, rows: int, height: int, width: int) -> _PaintedDiagonals:
        """The layer of images that come pixel by pixel."""
        return _PaintedDiagonals(self, rows, width)


def _skewed(x: Tensor) -> Tensor:
    """Row i of `x` (..., height, width) moved i to the right, (..., height, width + height - 1), zeros beside."""
    height, width = x.shape[-2:]
    flat = pad(x, (0, height)).flatten(-2)[..., : height * (width + height - 1)]
    return flat.unflatten(-1, (height, width + height - 1))


def _straight(x: Tensor, width: int) -> Tensor:
    """The rows moved back: `_skewed` undone."""
    height = x.shape[-2]
    return pad(x.flatten(-2), (0, height)).unflatten(-1, (height, width + height))[..., :width]


class _PaintedDiagonals:
    """`hidden`, `cell`: this row from the left so far; `above`, `from_right`: the row above from both sides."""

    def __init__(self, layer: _DiagonalLSTM, rows: int, width: int) -> None:
        self.layer, self.row, self.last = layer, 0, width - 1
        self.look, self.out = Painted(layer.look, rows, 1, 1), Painted(layer.out, rows, 1, 1)
        blank = self.look.image.new_zeros(rows, layer.width, width + 1)  # one more, of zeros, beyond the first column
        self.hidden, self.cell = blank, blank.clone()
        self.above, self.from_right = blank.clone(), blank.clone()
        self.pixels = blank.new_zeros(rows, layer.look.in_channels, 1, width)

    def _turn(self) -> None:
        """A row is complete: go through it from the right, and begin the next."""
        layer, gates = self.layer, self.layer.look_right(self.pixels)[:, :, 0]
        cell = self.cell[:, :, 0] * 0
        beside = cell
        states = self.from_right.clone()
        for j in range(self.last, -1, -1):
            told = layer.go_on_right(torch.stack([self.from_right[:, :, j + 1], beside], -1))[..., 0]
            beside, cell = _lstm(gates[:, :, j] + told, cell, layer.groups)
            states[:, :, j + 1] = beside
        self.from_right, self.above = states, self.hidden.clone()

    def __call__(self, i: int, j: int, pixel: Tensor) -> Tensor:
        if i > self.row:
            self._turn()
            self.row = i
        self.pixels[:, :, 0, j] = pixel
        told = self.layer.go_on(torch.stack([self.above[:, :, j + 1], self.hidden[:, :, j]], -1))[..., 0]
        gates = self.look(0, 0, pixel) + told
        hidden, self.cell[:, :, j + 1] = _lstm(gates, self.cell[:, :, j], self.layer.groups)
        self.hidden[:, :, j + 1] = hidden
        return self.out(0, 0, hidden + self.from_right[:, :, j + 1])


_KINDS: dict[str, type[_RowLSTM] | type[_DiagonalLSTM]] = {"row": _RowLSTM, "diagonal": _DiagonalLSTM}
