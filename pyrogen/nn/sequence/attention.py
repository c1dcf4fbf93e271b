"""Networks of attention, which read all tokens of an event at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["AttentionBlock", "KVCache", "TransformerEncoder"]


class KVCache:
    """The keys and values of the tokens that a layer of causal attention has seen, (rows, heads, length, features)."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of the next token; all keys and values so far."""
        self.key = key if self.key is None else torch.cat([self.key, key], 2)
        self.value = value if self.value is None else torch.cat([self.value, value], 2)
        return self.key, self.value


@dataclass(eq=False)
class AttentionBlock(nn.Module):
    """A transformer's layer: t + attention(norm(t)), then t + dense(norm(t)), normalized first.

    Args:
        width: of a token.
        heads: of attention, which must divide the width.
        causal: whether a token sees only itself and those before it.

    Shapes:
        (rows, length, width) -> (rows, length, width).

    Raises:
        ValueError: `heads` does not divide `width`.

    Example:
        >>> import torch
        >>> AttentionBlock(8, heads=2)(torch.zeros(5, 3, 8)).shape
        torch.Size([5, 3, 8])

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (normalized first).
    """

    width: int
    heads: int
    causal: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"heads must divide width, got heads={self.heads} and width={self.width}")
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) for _ in range(2))
        self.look, self.tell = nn.Linear(self.width, 3 * self.width), nn.Linear(self.width, self.width)
        self.dense = nn.Sequential(
            nn.Linear(self.width, 4 * self.width), nn.GELU(), nn.Linear(4 * self.width, self.width)
        )

    def forward(self, tokens: Tensor, kept: KVCache | None = None) -> Tensor:
        """The tokens one layer on; with `kept`, those that come after what it has seen, one at a time."""
        parts = self.look(self.norms[0](tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if kept is not None:
            key, value = kept.add(key, value)
        seen = scaled_dot_product_attention(query, key, value, is_causal=self.causal and kept is None)
        tokens = tokens + self.tell(seen.transpose(1, 2).flatten(-2))
        return tokens + self.dense(self.norms[1](tokens))


@dataclass(eq=False)
class TransformerEncoder(nn.Module):
    """From an image or a sequence to numbers: tokens with learned places, attention, their mean, a linear map.

    Args:
        event_shape: (channels, height, width) of an image, (length, features) or (length,) of a sequence.
        out_shape: event shape of the output.
        width: of a token inside.
        heads: of attention, which must divide the width.
        layers: of attention.
        patch: (height, width) of a token, or one number for both; None: the rows of an image, the steps of a sequence.

    Shapes:
        (..., *event_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: an `event_shape` that cannot be cut so, or the input does not end in it; `heads` does not divide.

    Example:
        >>> import torch
        >>> TransformerEncoder((1, 28, 28), 10, patch=7)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Dosovitskiy et al. 2020, arXiv:2010.11929 (patches).
    """

    event_shape: Shape
    out_shape: Shape
    width: int = 64
    heads: int = 4
    layers: int = 2
    patch: Shape | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self._tokens = Tokens(self._in, self.patch, "TransformerEncoder")
        self.first = nn.Linear(self._tokens.features, self.width)
        self.places = nn.Parameter(torch.randn(self._tokens.length, self.width) / math.sqrt(self.width))
        self.blocks = nn.Sequential(*(AttentionBlock(self.width, self.heads) for _ in range(self.layers)))
        self.norm, self.last = nn.LayerNorm(self.width), nn.Linear(self.width, math.prod(self._out))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        tokens = self.norm(self.blocks(self.first(self._tokens(x)) + self.places))
        out: Tensor = self.last(tokens.mean(1))
        return out.reshape((*batch_shape(x, self._in, "TransformerEncoder"), *self._out))
