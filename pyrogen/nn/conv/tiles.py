"""Networks between an image and a grid of vectors, one for each of its tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.dense import Dense
from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["TileDecoder", "TileEncoder"]


@dataclass(eq=False)
class TileEncoder(nn.Module):
    """From an image to a grid of vectors, each of one tile by the same dense network.

    Args:
        event_shape: (channels, height, width) of the image.
        features: numbers in a vector.
        tile: (height, width) of a tile, which must divide the image's; or one number for both.
        hidden: widths of the dense network; `()` makes it linear.

    Shapes:
        (..., *event_shape) -> (..., *grid, features), for any leading dimensions.

    Raises:
        ValueError: tiles that do not divide the image, or the input does not end in `event_shape`.

    Example:
        >>> import torch
        >>> TileEncoder((1, 28, 28), 16, tile=4)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 7, 7, 16])
    """

    event_shape: Shape
    features: int
    tile: Shape = 4
    hidden: Sequence[int] = (64,)

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.hidden = as_shape(self.hidden)
        self._tokens = Tokens(self._in, self.tile, "TileEncoder")
        self.grid = self._tokens.grid
        self.network = Dense(self._tokens.features, self.features, self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """The grid for `x`."""
        lead = batch_shape(x, self._in, "TileEncoder")
        out: Tensor = self.network(self._tokens(x))
        return out.reshape(*lead, *self.grid, self.features)


@dataclass(eq=False)
class TileDecoder(nn.Module):
    """From a grid of vectors to an image, each to one tile by the same dense network: `TileEncoder` backwards.

    Args:
        features: numbers in a vector.
        out_shape: (channels, height, width) of the image.
        tile: (height, width) of a tile, which must divide the image's; or one number for both.
        hidden: widths of the dense network; `()` makes it linear.

    Shapes:
        (..., *grid, features) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: as `TileEncoder`.

    Example:
        >>> import torch
        >>> TileDecoder(16, (1, 28, 28), tile=4)(torch.zeros(5, 7, 7, 16)).shape
        torch.Size([5, 1, 28, 28])
    """

    features: int
    out_shape: Shape
    tile: Shape = 4
    hidden: Sequence[int] = (64,)

    def __post_init__(self) -> None:
        super().__init__()
        self.out_shape = self._out = as_shape(self.out_shape)
        self.hidden = as_shape(self.hidden)
        self._tokens = Tokens(self._out, self.tile, "TileDecoder")
        self.grid = self._tokens.grid
        self.network = Dense(self.features, self._tokens.features, self.hidden)

    def forward(self, z: Tensor) -> Tensor:
        """The image for the grid `z`."""
        lead = batch_shape(z, (*self.grid, self.features), "TileDecoder")
        out: Tensor = self.network(z.reshape(math.prod(lead), self._tokens.length, self.features))
        return self._tokens.join(out).reshape(*lead, *self._out)
