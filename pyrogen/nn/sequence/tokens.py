"""Events as sequences of tokens: the rows or patches of an image, the steps of a sequence."""

from __future__ import annotations

import math

from torch import Tensor

from pyrogen.nn.shapes import Shape, as_shape, batch_shape


class Tokens:
    """Division of an event into tokens, from left to right and from top to bottom.

    Args:
        event_shape: (channels, height, width) of an image, (length, features) or (length,) of a sequence.
        patch: (height, width) of a token, or one number for both, which must divide those of the image; None, the
            default: a token is a row of the image, or a step of the sequence.
        name: of the network, for the error message; "Tokens" by default.

    Attributes:
        grid: number of tokens from top to bottom, and from left to right.
        length: number of tokens.
        features: size of a token.

    Raises:
        ValueError: `event_shape` is neither an image's nor a sequence's, or `patch` does not divide it.

    Example:
        >>> import torch
        >>> rows, patches = Tokens((3, 8, 6)), Tokens((3, 8, 6), patch=2)
        >>> rows(torch.zeros(5, 3, 8, 6)).shape, patches(torch.zeros(5, 3, 8, 6)).shape
        (torch.Size([5, 8, 18]), torch.Size([5, 12, 12]))
    """

    def __init__(self, event_shape: Shape, patch: Shape | None = None, name: str = "Tokens") -> None:
        self.name, self.event_shape = name, as_shape(event_shape)
        shape = self.event_shape
        if not 1 <= len(shape) <= 3:
            raise ValueError(
                f"{name} is for images (channels, height, width) and sequences (length, features), got {shape}"
            )
        channels, height, width = {1: (1, *shape, 1), 2: (1, *shape), 3: shape}[len(shape)]
        sizes = (1, width) if patch is None else as_shape(patch)
        down, right = sizes * 2 if len(sizes) == 1 else sizes
        if height % down or width % right:
            raise ValueError(f"{name} cannot cut {height} by {width} into patches of {down} by {right}")
        self.grid = height // down, width // right
        self.length, self.features = math.prod(self.grid), channels * down * right
        self._sizes = channels, height // down, down, width // right, right

    def __call__(self, x: Tensor) -> Tensor:
        """Divide events into tokens.

        Args:
            x: events of shape (..., *event_shape).

        Returns:
            Tokens of shape (batch, length, features), with all batch dimensions flattened into one.
        """
        batch = math.prod(batch_shape(x, self.event_shape, self.name))
        patches = x.reshape(batch, *self._sizes).permute(0, 2, 4, 1, 3, 5)
        return patches.reshape(batch, self.length, self.features)

    def join(self, tokens: Tensor) -> Tensor:
        """Join tokens to events, the inverse of calling the object.

        Args:
            tokens: shape (batch, length, features).

        Returns:
            Events of shape (batch, *event_shape).
        """
        channels, rows, height, columns, width = self._sizes
        patches = tokens.reshape(len(tokens), rows, columns, channels, height, width)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), *self.event_shape)
