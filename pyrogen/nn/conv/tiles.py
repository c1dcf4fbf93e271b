"""Networks between an image and a grid of feature vectors, one for each of its tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.nn.dense import Dense
from pyrogen.nn.sequence.tokens import Tokens
from pyrogen.nn.shapes import Shape, as_shape, batch_shape


@dataclass(eq=False)
class TileEncoder(nn.Module):
    """Encoder from an image to a grid of vectors: one dense network, applied to every tile.

    Args:
        event_shape: (channels, height, width) of the image.
        features: size of a vector.
        tile: (height, width) of a tile, or one number for both, which must divide those of the image; 4 by default.
        hidden: widths of the hidden layers of the dense network, (64,) by default; `()` gives a linear map.

    Raises:
        ValueError: the tiles do not divide the image.

    Example:
        >>> import torch
        >>> TileEncoder((1, 28, 28), 16, tile=4)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 7, 7, 16])
    """

    event_shape: Shape
    features: Count
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
        """Encode images.

        Args:
            x: images of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Grids of shape (..., *grid, features).
        """
        lead = batch_shape(x, self._in, "TileEncoder")
        return self.network(self._tokens(x)).reshape(*lead, *self.grid, self.features)


@dataclass(eq=False)
class TileDecoder(nn.Module):
    """Decoder from a grid of vectors to an image: one dense network, from every vector to its tile.

    Args:
        features: size of a vector.
        out_shape: (channels, height, width) of the image.
        tile: (height, width) of a tile, or one number for both, which must divide those of the image; 4 by default.
        hidden: widths of the hidden layers of the dense network, (64,) by default; `()` gives a linear map.

    Raises:
        ValueError: the tiles do not divide the image.

    Example:
        >>> import torch
        >>> TileDecoder(16, (1, 28, 28), tile=4)(torch.zeros(5, 7, 7, 16)).shape
        torch.Size([5, 1, 28, 28])
    """

    features: Count
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
        """Decode to images.

        Args:
            z: grids of shape (..., *grid, features), with any batch dimensions.

        Returns:
            Images of shape (..., *out_shape).
        """
        lead = batch_shape(z, (*self.grid, self.features), "TileDecoder")
        out: Tensor = self.network(z.reshape(math.prod(lead), self._tokens.length, self.features))
        return self._tokens.join(out).reshape(*lead, *self._out)
