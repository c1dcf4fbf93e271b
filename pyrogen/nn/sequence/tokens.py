"""Events as sequences of tokens: the rows or patches of an image, the steps of a sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["Tokens"]


@dataclass(frozen=True)
class Tokens:
    """How an event is cut into tokens, from left to right and from top to bottom.

    Args:
        event_shape: (channels, height, width) of an image, (length, features) or (length,) of a sequence.
        patch: (height, width) of a token, which must divide the image's; one number for both; None: the rows of an
            image, the steps of a sequence.
        who: whose input it is, for messages.

    Raises:
        ValueError: neither an image nor a sequence, or patches that do not divide it.

    Example:
        >>> import torch
        >>> rows, patches = Tokens((3, 8, 6)), Tokens((3, 8, 6), patch=2)
        >>> rows(torch.zeros(5, 3, 8, 6)).shape, patches(torch.zeros(5, 3, 8, 6)).shape
        (torch.Size([5, 8, 18]), torch.Size([5, 12, 12]))
    """

    event_shape: Shape
    patch: Shape | None = None
    who: str = "Tokens"

    def __post_init__(self) -> None:
        assert self._grid  # refuses at once what it cannot cut

    @property
    def length(self) -> int:
        """Number of tokens."""
        _, rows, _, columns, _ = self._grid
        return rows * columns

    @property
    def features(self) -> int:
        """Numbers in a token."""
        channels, _, down, _, right = self._grid
        return channels * down * right

    def __call__(self, x: Tensor) -> Tensor:
        """The tokens (rows, length, features) of `x` (..., *event_shape), its leading dimensions folded into one."""
        rows = math.prod(batch_shape(x, as_shape(self.event_shape), self.who))
        cut = x.reshape(rows, *self._grid).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(rows, self.length, self.features)

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tokens from top to bottom, and from left to right."""
        return self._grid[1], self._grid[3]

    def join(self, tokens: Tensor) -> Tensor:
        """The events (rows, *event_shape) whose tokens (rows, length, features) are."""
        channels, rows, down, columns, right = self._grid
        cut = tokens.reshape(len(tokens), rows, columns, channels, down, right)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), *as_shape(self.event_shape))

    @cached_property
    def _grid(self) -> tuple[int, int, int, int, int]:
        """Channels, patches from top to bottom, their height, patches from left to right, their width."""
        shape = as_shape(self.event_shape)
        if not 1 <= len(shape) <= 3:
            raise ValueError(
                f"{self.who} is for images (channels, height, width) and sequences (length, features), got {shape}"
            )
        channels, height, width = {1: (1, *shape, 1), 2: (1, *shape), 3: shape}[len(shape)]
        patch = (1, width) if self.patch is None else as_shape(self.patch)
        down, right = patch * 2 if len(patch) == 1 else patch
        if height % down or width % right:
            raise ValueError(f"{self.who} cannot cut {height} by {width} into patches of {down} by {right}")
        return channels, height // down, down, width // right, right
