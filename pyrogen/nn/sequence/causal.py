"""Networks over sequences in which every place is told of those before it alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyrogen.nn.sequence.attention import AttentionBlock, KVCache

__all__ = ["CausalNetwork", "CausalRecurrent", "CausalTransformer"]


class CausalNetwork(nn.Module, ABC):
    """Outputs for every place of a sequence, from what stands before that place; the first is told a start token.

    A network of this kind says how tokens become states (`_states`), and one token after the other (`_next`).
    """

    symbols: int
    features: int
    outputs: int
    width: int
    context: int

    def _ends(self) -> None:
        """The layers at both ends: elements and context in, outputs out."""
        if bool(self.symbols) == bool(self.features):
            raise ValueError(
                f"{type(self).__name__} reads symbols or features: set one of both, got symbols={self.symbols} and "
                f"features={self.features}"
            )
        scale = 1 / math.sqrt(self.width)
        self.start = nn.Parameter(torch.randn(self.width) * scale)
        self.first = nn.Embedding(self.symbols, self.width) if self.symbols else nn.Linear(self.features, self.width)
        self.told = nn.Linear(self.context, self.width) if self.context else None
        self.last = nn.Linear(self.width, self.outputs)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs (rows, places, outputs) for `x`."""
        rows = len(x)
        x = x.reshape(rows, -1) if self.symbols else x.reshape(rows, -1, self.features)
        start = self.start.expand(rows, 1, self.width)
        tokens = torch.cat([start, self.first(x[:, :-1])], 1) + self._context(context)
        out: Tensor = self.last(self._states(tokens))
        return out

    def steps(self, rows: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """The outputs place by place, for places in order: what was computed is kept.

        Returns:
            From a place i and the sequences so far (rows, places, ...) to the outputs there (rows, outputs).
        """
        kept: list[Any] = [None]
        told = self._context(context)

        def step(place: int, x: Tensor) -> Tensor:
            token = self.start.expand(rows, self.width) if place == 0 else self.first(x[:, place - 1])
            state, kept[0] = self._next(place, token[:, None] + told, kept[0])
            out: Tensor = self.last(state[:, 0])
            return out

        return step

    def _context(self, context: Tensor | None) -> Tensor | float:
        """What is added to every token, (rows, 1, width)."""
        if self.told is None:
            return 0.0
        if context is None:
            raise ValueError(f"{type(self).__name__} was made for a context of {self.context} numbers: pass one")
        told: Tensor = self.told(context)
        return told[:, None]

    @abstractmethod
    def _states(self, tokens: Tensor) -> Tensor:
        """The states (rows, places, width), each from the tokens (rows, places, width) up to its own."""

    @abstractmethod
    def _next(self, place: int, token: Tensor, kept: Any) -> tuple[Tensor, Any]:
        """The state (rows, 1, width) for the next token, and what is to be kept."""


@dataclass(eq=False)
class CausalTransformer(CausalNetwork):
    """A masked transformer over symbols, or over vectors.

    Args:
        length: of a sequence, at most.
        symbols: how many there are; 0: elements are vectors.
        features: numbers in an element that is no symbol.
        outputs: numbers for each place.
        width: of a token inside.
        heads: of attention.
        layers: of attention.
        context: numbers of a context that all places are told; 0: none.

    Shapes:
        (rows, ...), int64 symbols in order, or (rows, places, features); a context (rows, context) -> (rows, places,
        outputs).

    Raises:
        ValueError: `heads` does not divide `width`; symbols and features, or neither.

    Example:
        >>> import torch
        >>> network = CausalTransformer(5, symbols=3, outputs=3, width=8, heads=2)
        >>> network(torch.zeros(7, 5, dtype=torch.int64)).shape
        torch.Size([7, 5, 3])

    References:
        Vaswani et al. 2017, arXiv:1706.03762.
    """

    length: int
    symbols: int = 0
    features: int = 0
    outputs: int = 1
    width: int = 64
    heads: int = 4
    layers: int = 2
    context: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._ends()
        self.places = nn.Parameter(torch.randn(self.length, self.width) / math.sqrt(self.width))
        self.blocks = nn.ModuleList(AttentionBlock(self.width, self.heads, causal=True) for _ in range(self.layers))
        self.norm = nn.LayerNorm(self.width)

    def _states(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.places[: tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        state: Tensor = self.norm(tokens)
        return state

    def _next(self, place: int, token: Tensor, kept: list[KVCache] | None) -> tuple[Tensor, list[KVCache]]:
        kept = [KVCache() for _ in self.blocks] if kept is None else kept
        token = token + self.places[place]
        for block, seen in zip(self.blocks, kept, strict=True):
            token = block(token, seen)
        return self.norm(token), kept


@dataclass(eq=False)
class CausalRecurrent(CausalNetwork):
    """A GRU over symbols, or over vectors.

    Args:
        symbols: how many there are; 0: elements are vectors.
        features: numbers in an element that is no symbol.
        outputs: numbers for each place.
        width: of the state.
        layers: of GRUs, each reading the states of the one before.
        context: numbers of a context that all places are told; 0: none.

    Shapes:
        As `CausalTransformer`, for any number of places.

    Raises:
        ValueError: symbols and features, or neither.

    Example:
        >>> import torch
        >>> CausalRecurrent(features=2, outputs=4, width=8)(torch.zeros(7, 5, 2)).shape
        torch.Size([7, 5, 4])

    References:
        Cho et al. 2014, arXiv:1406.1078.
    """

    symbols: int = 0
    features: int = 0
    outputs: int = 1
    width: int = 128
    layers: int = 1
    context: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._ends()
        self.gru = nn.GRU(self.width, self.width, self.layers, batch_first=True)

    def _states(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.gru(tokens)[0]
        return states

    def _next(self, place: int, token: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        state, kept = self.gru(token, kept)
        return state, kept
