"""Recurrent networks over the tokens of an event."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape


@dataclass(eq=False)
class RecurrentEncoder(nn.Module):
    """Recurrent network from an image or a sequence to a vector: a GRU over its tokens, then a linear layer.

    Args:
        event_shape: (channels, height, width) of an image, (length, features) or (length,) of a sequence.
        out_shape: event shape of the output.
        width: size of the state, 128 by default.
        layers: number of stacked GRUs, 1 by default.
        patch: (height, width) of a token, or one number for both; None, the default: a token is a row of the image, or
            a step of the sequence.

    Raises:
        ValueError: `event_shape` is neither an image's nor a sequence's, or `patch` does not divide it.

    Example:
        >>> import torch
        >>> RecurrentEncoder((1, 28, 28), 10)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])

    References:
        Cho et al. 2014, arXiv:1406.1078 (GRU).
    """

    event_shape: Shape
    out_shape: Shape
    width: Count = 128
    layers: Count = 1
    patch: Shape | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self._tokens = Tokens(self._in, self.patch, "RecurrentEncoder")
        self.gru = nn.GRU(self._tokens.features, self.width, self.layers, batch_first=True)
        self.last = nn.Linear(self.width, math.prod(self._out))

    def forward(self, x: Tensor) -> Tensor:
        """Encode events.

        Args:
            x: events of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Output of shape (..., *out_shape).
        """
        states, _ = self.gru(self._tokens(x))
        return self.last(states[:, -1]).reshape((*batch_shape(x, self._in, "RecurrentEncoder"), *self._out))
