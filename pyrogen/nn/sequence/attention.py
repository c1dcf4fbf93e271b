"""Networks of self-attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pyrogen.annotations import Count
from pyrogen.nn.dense import hidden_layers
from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape


class KVCache:
    """Keys and values of the tokens so far in a layer of causal attention, each (batch, heads, length, features)."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append the key and the value of the next token.

        Args:
            key: shape (batch, heads, 1, features).
            value: shape (batch, heads, 1, features).

        Returns:
            All keys and all values so far.
        """
        self.key = key if self.key is None else torch.cat([self.key, key], 2)
        self.value = value if self.value is None else torch.cat([self.value, value], 2)
        return self.key, self.value


@dataclass(eq=False)
class AttentionBlock(nn.Module):
    """Transformer layer with pre-normalization: t + attention(norm(t)), then t + dense(norm(t)).

    Args:
        width: size of a token.
        heads: number of attention heads, which must divide `width`.
        causal: whether a token attends only to itself and to those before it; False by default.

    Raises:
        ValueError: `heads` does not divide `width`.

    Example:
        >>> import torch
        >>> AttentionBlock(8, heads=2)(torch.zeros(5, 3, 8)).shape
        torch.Size([5, 3, 8])

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (pre-normalization).
    """

    width: Count
    heads: Count
    causal: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"heads must divide width, got heads={self.heads} and width={self.width}")
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) for _ in range(2))
        self.qkv_proj, self.out_proj = nn.Linear(self.width, 3 * self.width), nn.Linear(self.width, self.width)
        self.dense = nn.Sequential(*hidden_layers([self.width, 4 * self.width, self.width], nn.GELU)[:-1])

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Apply the layer.

        Args:
            tokens: shape (batch, length, width); of length 1 with a `cache`.
            cache: keys and values of the tokens before, to which those of this one are added; None, the default, for
                whole sequences.

        Returns:
            Tokens of the same shape.
        """
        heads = self.qkv_proj(self.norms[0](tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            key, value = cache.add(key, value)
        attended = scaled_dot_product_attention(query, key, value, is_causal=self.causal and cache is None)
        tokens = tokens + self.out_proj(attended.transpose(1, 2).flatten(-2))
        return tokens + self.dense(self.norms[1](tokens))


@dataclass(eq=False)
class TransformerEncoder(nn.Module):
    """Transformer from an image or a sequence to a vector: tokens, learned positions, attention, mean, linear layer.

    Args:
        event_shape: (channels, height, width) of an image, (length, features) or (length,) of a sequence.
        out_shape: event shape of the output.
        width: size of a token inside, 64 by default.
        heads: number of attention heads, which must divide `width`; 4 by default.
        layers: number of attention layers, 2 by default.
        patch: (height, width) of a token, or one number for both; None, the default: a token is a row of the image, or
            a step of the sequence.

    Raises:
        ValueError: `event_shape` is neither an image's nor a sequence's, `patch` does not divide it, or `heads` does
            not divide `width`.

    Example:
        >>> import torch
        >>> TransformerEncoder((1, 28, 28), 10, patch=7)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Dosovitskiy et al. 2020, arXiv:2010.11929 (patches).
    """

    event_shape: Shape
    out_shape: Shape
    width: Count = 64
    heads: Count = 4
    layers: Count = 2
    patch: Shape | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self._tokens = Tokens(self._in, self.patch, "TransformerEncoder")
        self.first = nn.Linear(self._tokens.features, self.width)
        self.position_embedding = nn.Parameter(torch.randn(self._tokens.length, self.width) / math.sqrt(self.width))
        self.blocks = nn.Sequential(*(AttentionBlock(self.width, self.heads) for _ in range(self.layers)))
        self.norm, self.last = nn.LayerNorm(self.width), nn.Linear(self.width, math.prod(self._out))

    def forward(self, x: Tensor) -> Tensor:
        """Encode events.

        Args:
            x: events of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Output of shape (..., *out_shape).
        """
        tokens = self.norm(self.blocks(self.first(self._tokens(x)) + self.position_embedding))
        lead = batch_shape(x, self._in, "TransformerEncoder")
        return self.last(tokens.mean(1)).reshape((*lead, *self._out))
