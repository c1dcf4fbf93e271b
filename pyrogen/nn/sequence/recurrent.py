"""Recurrent networks, which read an event token by token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["RecurrentEncoder"]


@dataclass(eq=False)
class RecurrentEncoder(nn.Module):
    """From an image or a sequence to numbers: a GRU reads the tokens, a linear map its last state.

    Args:
        event_shape: (channels, height, width) of an image, (length, features) or (length,) of a sequence.
        out_shape: event shape of the output.
        width: of the state.
        layers: of GRUs, each reading the states of the one before.
        patch: (height, width) of a token, or one number for both; None: the rows of an image, the steps of a sequence.

    Shapes:
        (..., *event_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: an `event_shape` that cannot be cut so, or the input does not end in it.

    Example:
        >>> import torch
        >>> RecurrentEncoder((1, 28, 28), 10)(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 10])

    References:
        Cho et al. 2014, arXiv:1406.1078 (GRU).
    """

    event_shape: Shape
    out_shape: Shape
    width: int = 128
    layers: int = 1
    patch: Shape | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self._tokens = Tokens(self._in, self.patch, "RecurrentEncoder")
        self.gru = nn.GRU(self._tokens.features, self.width, self.layers, batch_first=True)
        self.last = nn.Linear(self.width, math.prod(self._out))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for `x`."""
        states, _ = self.gru(self._tokens(x))
        out: Tensor = self.last(states[:, -1])
        return out.reshape((*batch_shape(x, self._in, "RecurrentEncoder"), *self._out))
