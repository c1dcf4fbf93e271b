"""Sequences of any length: an encoder, padding, and word dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.sequence.attention import AttentionBlock
from pyrogen.nn.shapes import batch_shape


@dataclass(eq=False)
class SequenceEncoder(nn.Module):
    """Causal network from a sequence of symbols or vectors to a vector, linear in the mean and the last of its states.

    Padding has no effect; of an empty sequence the mean and the last state are 0.

    Args:
        outputs: size of the output.
        symbols: number of symbols; 0, the default, where elements are vectors.
        features: size of an element that is a vector; 0, the default, where elements are symbols.
        kind: "recurrent", the default, a GRU; or "transformer", causal, with sinusoidal positions (Vaswani et al.
            2017).
        width: size of a state, 64 by default.
        layers: number of layers, 1 by default.
        heads: number of attention heads, which must divide `width`; 4 by default.

    Raises:
        ValueError: `kind` is unknown, or `heads` does not divide `width`.

    Example:
        >>> encoder = SequenceEncoder(4, features=2, width=8)
        >>> encoder(torch.zeros(7, 5, 2), torch.full((7,), 3)).shape
        torch.Size([7, 4])

    References:
        Cho et al. 2014, arXiv:1406.1078; Vaswani et al. 2017, arXiv:1706.03762.
    """

    outputs: Count
    symbols: CountOrZero = 0
    features: CountOrZero = 0
    kind: Literal["recurrent", "transformer"] = "recurrent"
    width: Count = 64
    layers: Count = 1
    heads: Count = 4

    def __post_init__(self) -> None:
        super().__init__()
        self.first = nn.Embedding(self.symbols, self.width) if self.symbols else nn.Linear(self.features, self.width)
        if self.kind == "recurrent":
            self.encoder: nn.Module = nn.GRU(self.width, self.width, self.layers, batch_first=True)
        elif self.kind == "transformer":
            blocks = (AttentionBlock(self.width, self.heads, causal=True) for _ in range(self.layers))
            self.encoder = nn.Sequential(*blocks, nn.LayerNorm(self.width))
        else:
            raise ValueError(f"kind is one of recurrent, transformer, got {self.kind!r}")
        self.last = nn.Linear(2 * self.width, self.outputs)

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode sequences.

        Args:
            x: symbols (..., length), int64, or vectors (..., length, features), with any batch dimensions.
            length: number of elements before the padding, int64 (...); None, the default, without padding.

        Returns:
            Outputs of shape (..., outputs).
        """
        unit = () if self.symbols else (self.features,)
        *lead, positions = batch_shape(x, unit, "SequenceEncoder")
        batch = math.prod(lead)
        length = torch.full((), positions, device=x.device) if length is None else length
        length = length.expand(lead).reshape(batch)
        states = without_padding(self._states(without_padding(x.reshape(batch, positions, *unit), length)), length)
        count = length.clamp(min=1)[:, None]
        last = states.gather(1, (count - 1)[..., None].expand(-1, 1, self.width))[:, 0]
        return self.last(torch.cat([states.sum(1) / count, last], -1)).reshape(*lead, self.outputs)

    def _states(self, x: Tensor) -> Tensor:
        """The states (batch, length, width)."""
        tokens: Tensor = self.first(x)
        if isinstance(self.encoder, nn.GRU):
            return self.encoder(tokens)[0]
        return self.encoder(tokens + _sinusoids(x.shape[1], self.width, x.device).to(tokens.dtype))


class WordDropout(nn.Module):
    """Embedding of elements, some of which are replaced by a learned mask token in training.

    Args:
        embedding: network from elements to tokens.
        width: size of a token.
        keep_prob: probability that an element is kept in training mode; all are kept in evaluation mode, except at 0,
            where none is kept in either mode.

    Example:
        >>> WordDropout(nn.Embedding(3, 8), width=8, keep_prob=0.5)(torch.zeros(7, 5, dtype=torch.int64)).shape
        torch.Size([7, 5, 8])

    References:
        Bowman et al. 2016, arXiv:1511.06349 (word dropout: UNK in place of a word).
    """

    def __init__(self, embedding: nn.Module, width: int, keep_prob: float) -> None:
        super().__init__()
        self.embedding, self.keep_prob = embedding, keep_prob
        self.mask_token = nn.Parameter(torch.randn(width) / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """Embed elements.

        Args:
            x: elements, as the embedding takes them.

        Returns:
            Tokens of shape (..., width).
        """
        tokens: Tensor = self.embedding(x)
        if self.keep_prob and not self.training:
            return tokens
        keep = torch.rand(tokens.shape[:-1], device=tokens.device) < self.keep_prob
        return torch.where(keep[..., None], tokens, self.mask_token)


def without_padding(x: Tensor, length: Tensor | None) -> Tensor:
    """Set the padding of sequences to 0.

    Args:
        x: sequences of shape (batch, max_length, ...).
        length: number of elements before the padding, int64 (batch,); None without padding.

    Returns:
        `x` with 0 from `length` on.

    Example:
        >>> without_padding(torch.ones(2, 3), torch.tensor([1, 3])).tolist()
        [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    if length is None:
        return x
    mask = _element_mask(length, x.shape[1])
    return torch.where(mask.reshape(*mask.shape, *[1] * (x.dim() - 2)), x, 0)


def elements(x: Tensor, length: Tensor | None) -> Tensor:
    """Select the elements of all sequences, without the padding.

    Args:
        x: sequences of shape (batch, max_length, ...).
        length: number of elements before the padding, int64 (batch,); None without padding.

    Returns:
        The elements of one sequence after the other, shape (total, ...).

    Example:
        >>> elements(torch.tensor([[1, 2, 0], [3, 4, 5]]), torch.tensor([2, 3])).tolist()
        [1, 2, 3, 4, 5]
    """
    return x.flatten(0, 1) if length is None else x[_element_mask(length, x.shape[1])]


def _element_mask(length: Tensor, max_length: int) -> Tensor:
    """Whether a position holds an element and no padding, (batch, max_length)."""
    return torch.arange(max_length, device=length.device) < length[:, None]


def _sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of the positions, (length, width), of wavelengths from 2 pi to 10,000 times that."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angle = torch.arange(length, device=device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)[..., :width]
