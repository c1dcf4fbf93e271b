"""A causal transformer over the elements of an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.sequence.causal import CausalTransformer
from pyrogen.nn.shapes import Shape, batch_shape, image_shape


@dataclass(eq=False)
class PixelTransformer(nn.Module):
    """Causal transformer over the pixels of an image in the order of reading, and the channels of each in turn.

    Args:
        event_shape: (channels, height, width) of an image.
        levels: number of grey levels k / (levels - 1), each of which is embedded; 2, the default, for binary images.
        outputs: number of outputs for each element, 1 by default.
        width: size of a token inside, 64 by default.
        heads: number of attention heads, which must divide `width`; 4 by default.
        layers: number of attention layers, 4 by default.
        context: size of a context vector on which all outputs depend; 0, the default, without one.

    Raises:
        ValueError: `event_shape` is not (channels, height, width), or `heads` does not divide `width`.

    Example:
        >>> import torch
        >>> PixelTransformer((1, 8, 8), width=8, heads=2)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64, 1])

    References:
        Parmar et al. 2018, arXiv:1802.05751; Chen et al. 2020, "Generative pretraining from pixels", ICML.
    """

    by_pixel: ClassVar[bool] = True
    unit: ClassVar[tuple[int, ...]] = ()

    event_shape: Shape
    levels: Count = 2
    outputs: Count = 1
    width: Count = 64
    heads: Count = 4
    layers: Count = 4
    context: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = image_shape(self.event_shape, "PixelTransformer", "use CausalTransformer")
        self.network = CausalTransformer(
            math.prod(self._in), self.levels, 0, self.outputs, self.width, self.heads, self.layers, self.context
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Compute the outputs for all elements.

        Args:
            x: images of shape (batch, *event_shape), values in [0, 1].
            context: shape (batch, context); None, the default, for a network without a context.

        Returns:
            Outputs of shape (batch, elements, outputs), elements in the order of pixels.
        """
        batch_shape(x, self._in, "PixelTransformer")
        return self.network(self._levels(x.movedim(1, -1)), context)

    def steps(self, batch_size: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """Prepare incremental evaluation, element by element, which keeps keys and values and reuses them.

        Args:
            batch_size: number of images.
            context: as that of `forward`.

        Returns:
            A function to be called for the positions in order: from a position and the elements so far, in order
            (batch_size, elements), to the outputs at the position (batch_size, outputs).
        """
        step = self.network.steps(batch_size, context)
        return lambda position, x: step(position, self._levels(x))

    def _levels(self, x: Tensor) -> Tensor:
        return (x * (self.levels - 1)).round().long()
