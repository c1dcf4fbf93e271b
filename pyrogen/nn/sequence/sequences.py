"""Sequences of any length: what reads a whole one into numbers, what is padding, and tokens that are hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pyrogen.nn.sequence.attention import AttentionBlock
from pyrogen.nn.shapes import batch_shape

__all__ = ["HiddenTokens", "SequenceEncoder", "elements", "without_padding"]


@dataclass(eq=False)
class SequenceEncoder(nn.Module):
    """From a sequence of symbols or vectors to numbers: states, each of what stands up to it, their mean and the last.

    What pads a sequence changes nothing; of an empty one the mean and the last state are 0.

    Args:
        outputs: numbers.
        symbols: how many there are; 0: elements are vectors.
        features: numbers in an element that is no symbol.
        kind: "recurrent", a GRU, or "transformer", masked, with sines of the place (Vaswani et al. 2017).
        width: of a state.
        layers: of states.
        heads: of attention.

    Shapes:
        x (..., places) int64 or (..., places, features), length (...) int64 or None -> (..., outputs).

    Example:
        >>> encoder = SequenceEncoder(4, features=2, width=8)
        >>> encoder(torch.zeros(7, 5, 2), torch.full((7,), 3)).shape
        torch.Size([7, 4])

    References:
        Cho et al. 2014, arXiv:1406.1078; Vaswani et al. 2017, arXiv:1706.03762.
    """

    outputs: int
    symbols: int = 0
    features: int = 0
    kind: Literal["recurrent", "transformer"] = "recurrent"
    width: int = 64
    layers: int = 1
    heads: int = 4

    def __post_init__(self) -> None:
        super().__init__()
        self.first = nn.Embedding(self.symbols, self.width) if self.symbols else nn.Linear(self.features, self.width)
        if self.kind == "recurrent":
            self.reader: nn.Module = nn.GRU(self.width, self.width, self.layers, batch_first=True)
        elif self.kind == "transformer":
            blocks = (AttentionBlock(self.width, self.heads, causal=True) for _ in range(self.layers))
            self.reader = nn.Sequential(*blocks, nn.LayerNorm(self.width))
        else:
            raise ValueError(f"kind is 'recurrent' or 'transformer', got {self.kind!r}")
        self.end = nn.Linear(2 * self.width, self.outputs)

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """The outputs for `x`."""
        unit = () if self.symbols else (self.features,)
        *lead, places = batch_shape(x, unit, "SequenceEncoder")
        rows = math.prod(lead)
        length = torch.full((), places, device=x.device) if length is None else length
        length = length.expand(lead).reshape(rows)
        states = without_padding(self._states(without_padding(x.reshape(rows, places, *unit), length)), length)
        last = length.clamp(min=1)[:, None]
        mean, place = states.sum(1) / last, (last - 1)[..., None].expand(-1, 1, self.width)
        out: Tensor = self.end(torch.cat([mean, states.gather(1, place)[:, 0]], -1))
        return out.reshape(*lead, self.outputs)

    def _states(self, x: Tensor) -> Tensor:
        """The states (rows, places, width)."""
        tokens: Tensor = self.first(x)
        if isinstance(self.reader, nn.GRU):
            states: Tensor = self.reader(tokens)[0]
            return states
        places = torch.arange(x.shape[1], device=x.device)
        states = self.reader(tokens + sines(places, self.width).to(tokens.dtype))
        return states


class HiddenTokens(nn.Module):
    """The tokens of elements, some of which are hidden in training: a learned token stands in their place.

    Args:
        first: from elements to tokens.
        width: of a token.
        keep: part of the elements that is shown in training, all being shown afterwards; 0: none, ever.

    Example:
        >>> HiddenTokens(nn.Embedding(3, 8), width=8, keep=0.5)(torch.zeros(7, 5, dtype=torch.int64)).shape
        torch.Size([7, 5, 8])

    References:
        Bowman et al. 2016, arXiv:1511.06349 (word dropout: UNK in place of a word).
    """

    def __init__(self, first: nn.Module, width: int, keep: float) -> None:
        super().__init__()
        self.first, self.keep = first, keep
        self.hidden = nn.Parameter(torch.randn(width) / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """The tokens of `x`."""
        tokens: Tensor = self.first(x)
        if self.keep and not self.training:
            return tokens
        shown = torch.rand(tokens.shape[:-1], device=tokens.device) < self.keep
        return torch.where(shown[..., None], tokens, self.hidden)


def without_padding(x: Tensor, length: Tensor | None) -> Tensor:
    """`x` (rows, places, ...) with 0 for whatever stands behind `length` (rows,); None: nothing does.

    Example:
        >>> without_padding(torch.ones(2, 3), torch.tensor([1, 3])).tolist()
        [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    if length is None:
        return x
    there = _there(length, x.shape[1])
    return torch.where(there.reshape(*there.shape, *[1] * (x.dim() - 2)), x, 0)


def elements(x: Tensor, length: Tensor | None) -> Tensor:
    """The elements (number, ...) of all sequences `x` (rows, places, ...) of `length` (rows,), without the padding.

    Example:
        >>> elements(torch.tensor([[1, 2, 0], [3, 4, 5]]), torch.tensor([2, 3])).tolist()
        [1, 2, 3, 4, 5]
    """
    return x.flatten(0, 1) if length is None else x[_there(length, x.shape[1])]


def _there(length: Tensor, places: int) -> Tensor:
    """Which of so many places hold elements, (rows, places)."""
    return torch.arange(places, device=length.device) < length[:, None]


def sines(places: Tensor, width: int) -> Tensor:
    """Waves of the places, (..., width), their lengths from 2 pi to 10,000 times that."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2, device=places.device) / width)
    angle = places[..., None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)[..., :width]
