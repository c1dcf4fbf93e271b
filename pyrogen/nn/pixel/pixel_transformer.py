"""A masked transformer over the elements of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyrogen.nn.sequence.causal import CausalTransformer
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["PixelTransformer"]


@dataclass(eq=False)
class PixelTransformer(nn.Module):
    """A masked transformer that reads pixels in order, the channels of each in turn; each has a place that is learned.

    Args:
        event_shape: (channels, height, width) of an image.
        levels: number of grey levels k / (levels - 1), of each of which it learns a vector; 2 for binary images.
        outputs: numbers for each element.
        width: of a token inside.
        heads: of attention.
        layers: of attention.
        context: numbers of a context that all elements are told; 0: none.

    Shapes:
        (rows, *event_shape), and (rows, context) -> (rows, elements, outputs).

    Raises:
        ValueError: `event_shape` is no image's; `heads` does not divide `width`.

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
    levels: int = 2
    outputs: int = 1
    width: int = 64
    heads: int = 4
    layers: int = 4
    context: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        if len(self._in) != 3:
            raise ValueError(f"PixelTransformer is for images (channels, height, width), got {self._in}")
        elements = torch.Size(self._in).numel()
        told = {"symbols": self.levels, "outputs": self.outputs, "context": self.context}
        self.network = CausalTransformer(elements, width=self.width, heads=self.heads, layers=self.layers, **told)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs for `x`."""
        batch_shape(x, self._in, "PixelTransformer")
        out: Tensor = self.network(self._levels(x.movedim(1, -1)), context)
        return out

    def steps(self, rows: int, context: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """The outputs element by element, in order: keys and values that were computed are kept."""
        step = self.network.steps(rows, context)
        return lambda place, x: step(place, self._levels(x))

    def _levels(self, x: Tensor) -> Tensor:
        return (x * (self.levels - 1)).round().long()
