"""What reads a whole sequence of any length into numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pyrogen.nn.attention import AttentionBlock

__all__ = ["SequenceEncoder"]


@dataclass(eq=False)
class SequenceEncoder(nn.Module):
    """From a sequence of symbols or vectors to numbers: states, each of what stands up to it, their mean and the last.

    As no state sees what comes behind it, what pads a sequence changes nothing.

    Args:
        outputs: numbers.
        symbols: how many there are; 0: elements are vectors.
        features: numbers in an element that is no symbol.
        kind: "recurrent", a GRU, or "transformer", masked, with sines of the place (Vaswani et al. 2017).
        width: of a state.
        layers: of states.
        heads: of attention.

    Shapes:
        x (rows, places) int64 or (rows, places, features), length (rows,) int64 or None -> (rows, outputs).

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
        tokens, places = self.first(x), torch.arange(x.shape[1], device=x.device)
        if isinstance(self.reader, nn.GRU):
            states = self.reader(tokens)[0]
        else:
            states = self.reader(tokens + sines(places, self.width).to(tokens.dtype))
        if length is None:
            length = torch.full((len(x),), x.shape[1], device=x.device)
        there = (places < length[:, None]).to(states.dtype)[..., None]
        mean = (there * states).sum(1) / length.clamp(min=1)[:, None]
        place = (length.clamp(min=1) - 1)[:, None, None].expand(-1, 1, self.width)
        out: Tensor = self.end(torch.cat([mean, states.gather(1, place)[:, 0]], -1))
        return out


def sines(places: Tensor, width: int) -> Tensor:
    """Waves of the places, (..., width), their lengths from 2 pi to 10,000 times that."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2, device=places.device) / width)
    angle = places[..., None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)[..., :width]
