"""Causal networks over sequences: the outputs at a position depend on the elements before it alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.sequence.attention import AttentionBlock, KVCache


class CausalNetwork(nn.Module, ABC):
    """Base class of causal networks: the outputs at a position depend on a start token and the elements before it.

    A subclass defines the states of a whole sequence of tokens (`_states`), and those of one token after the other
    (`_next`). Elements are either symbols, whole numbers below `symbols`, or vectors of `features` numbers.
    """

    by_pixel: ClassVar[bool] = False

    symbols: CountOrZero
    features: Count
    outputs: Count
    width: Count
    context: CountOrZero

    @property
    def unit(self) -> tuple[int, ...]:
        """Event shape of an element: () of a symbol, (features,) of a vector."""
        return () if self.symbols else (self.features,)

    def _add_ends(self) -> None:
        """Add the layers from elements and context to tokens, and from states to outputs."""
        if bool(self.symbols) == bool(self.features):
            raise ValueError(
                f"{type(self).__name__} takes either symbols or vectors: set exactly one of symbols and features, got "
                f"symbols={self.symbols} and features={self.features}"
            )
        self.start = nn.Parameter(torch.randn(self.width) * (1 / math.sqrt(self.width)))
        self.first = nn.Embedding(self.symbols, self.width) if self.symbols else nn.Linear(self.features, self.width)
        self.context_proj = nn.Linear(self.context, self.width) if self.context else None
        self.last = nn.Linear(self.width, self.outputs)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Compute the outputs at all positions.

        Args:
            x: symbols (batch, ...), int64, or vectors (batch, ..., features), in the order of memory.
            context: shape (batch, context); None, the default, for a network without a context.

        Returns:
            Outputs of shape (batch, length, outputs).
        """
        x = x.flatten(1) if self.symbols else x.reshape(len(x), -1, self.features)
        start = self.start.expand(len(x), 1, self.width)
        tokens = torch.cat([start, self.first(x[:, :-1])], 1) + self._context(context)
        return self.last(self._states(tokens))

    def steps(self, batch_size: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """Prepare incremental evaluation, position by position, which keeps the states and reuses them.

        Args:
            batch_size: number of sequences.
            context: shape (batch_size, context); None, the default, for a network without a context.

        Returns:
            A function to be called for the positions in order: from a position and the sequences so far (batch_size,
            length, ...), of which later elements are ignored, to the outputs at the position (batch_size, outputs).
        """
        cache: Any = None
        added = self._context(context)

        def step(position: int, x: Tensor) -> Tensor:
            nonlocal cache
            token = self.start.expand(batch_size, self.width) if position == 0 else self.first(x[:, position - 1])
            state, cache = self._next(position, token[:, None] + added, cache)
            return self.last(state[:, 0])

        return step

    def _context(self, context: Tensor | None) -> Tensor | float:
        """The projected context, (batch, 1, width), which is added to every token."""
        if self.context_proj is None:
            return 0.0
        if context is None:
            raise ValueError(f"{type(self).__name__} was made for a context of {self.context} numbers: pass one")
        return self.context_proj(context)[:, None]

    @abstractmethod
    def _states(self, tokens: Tensor) -> Tensor:
        """The states (batch, length, width), each a function of the tokens (batch, length, width) up to its own."""

    @abstractmethod
    def _next(self, position: int, token: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """The state (batch, 1, width) of the next token, and the cache for the one after it."""


@dataclass(eq=False)
class CausalTransformer(CausalNetwork):
    """Causal transformer over symbols or vectors, with learned positions.

    Args:
        length: maximal length of a sequence.
        symbols: number of symbols; 0, the default, where elements are vectors.
        features: size of an element that is a vector; 0, the default, where elements are symbols.
        outputs: number of outputs at each position, 1 by default.
        width: size of a token inside, 64 by default.
        heads: number of attention heads, which must divide `width`; 4 by default.
        layers: number of attention layers, 2 by default.
        context: size of a context vector on which all positions depend; 0, the default, without one.

    Raises:
        ValueError: `heads` does not divide `width`, or both or neither of `symbols` and `features` are set.

    Example:
        >>> import torch
        >>> network = CausalTransformer(5, symbols=3, outputs=3, width=8, heads=2)
        >>> network(torch.zeros(7, 5, dtype=torch.int64)).shape
        torch.Size([7, 5, 3])

    References:
        Vaswani et al. 2017, arXiv:1706.03762.
    """

    length: Count
    symbols: CountOrZero = 0
    features: CountOrZero = 0
    outputs: Count = 1
    width: Count = 64
    heads: Count = 4
    layers: Count = 2
    context: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._add_ends()
        self.position_embedding = nn.Parameter(torch.randn(self.length, self.width) / math.sqrt(self.width))
        self.blocks = nn.ModuleList(AttentionBlock(self.width, self.heads, causal=True) for _ in range(self.layers))
        self.norm = nn.LayerNorm(self.width)

    def _states(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.position_embedding[: tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _next(self, position: int, token: Tensor, cache: list[KVCache] | None) -> tuple[Tensor, list[KVCache]]:
        caches = [KVCache() for _ in self.blocks] if cache is None else cache
        token = token + self.position_embedding[position]
        for block, block_cache in zip(self.blocks, caches, strict=True):
            token = block(token, block_cache)
        return self.norm(token), caches


@dataclass(eq=False)
class CausalRecurrent(CausalNetwork):
    """Recurrent network (GRU) over symbols or vectors.

    Args:
        symbols: number of symbols; 0, the default, where elements are vectors.
        features: size of an element that is a vector; 0, the default, where elements are symbols.
        outputs: number of outputs at each position, 1 by default.
        width: size of the state, 128 by default.
        layers: number of stacked GRUs, 1 by default.
        context: size of a context vector on which all positions depend; 0, the default, without one.

    Raises:
        ValueError: both or neither of `symbols` and `features` are set.

    Example:
        >>> import torch
        >>> CausalRecurrent(features=2, outputs=4, width=8)(torch.zeros(7, 5, 2)).shape
        torch.Size([7, 5, 4])

    References:
        Cho et al. 2014, arXiv:1406.1078.
    """

    symbols: CountOrZero = 0
    features: CountOrZero = 0
    outputs: Count = 1
    width: Count = 128
    layers: Count = 1
    context: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._add_ends()
        self.gru = nn.GRU(self.width, self.width, self.layers, batch_first=True)

    def _states(self, tokens: Tensor) -> Tensor:
        return self.gru(tokens)[0]

    def _next(self, position: int, token: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.gru(token, cache)
