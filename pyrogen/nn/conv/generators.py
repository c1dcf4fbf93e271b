"""Generators: networks that make data of latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.nn.conv.conv import doublings, halvings
from pyrogen.nn.dense import hidden_layers
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["Generator", "image_shape"]


@dataclass(eq=False)
class Generator(nn.Module):
    """From latents to data: dense layers, then, for images, transposed convolutions that double height and width.

    ReLU follows every layer but the last: its kinks tear connected latents into separate modes, where smooth or leaky
    activations leave bridges. With `channels` it is a DCGAN's generator, of any size of images and without batch
    normalization; with `blocks`, a residual one.

    Args:
        in_shape: event shape of the input; flattened.
        out_shape: event shape of the data; (channels, height, width) where there are convolutions.
        hidden: widths of the dense layers.
        channels: of the inputs of the transposed convolutions, one doubling each; `()`: dense layers alone.
        blocks: residual blocks before each doubling.

    Shapes:
        (..., *in_shape) -> (..., *out_shape), for any leading dimensions.

    Raises:
        ValueError: the input does not end in `in_shape`; or `channels` for data that are no images.

    Example:
        >>> import torch
        >>> Generator(16, (1, 28, 28), hidden=(), channels=(64, 32))(torch.zeros(5, 3, 16)).shape
        torch.Size([5, 3, 1, 28, 28])

    References:
        Goodfellow et al. 2014, arXiv:1406.2661; Radford, Metz, Chintala 2015, arXiv:1511.06434 (DCGAN).
    """

    in_shape: Shape
    out_shape: Shape
    hidden: Sequence[int] = (128, 128)
    channels: Sequence[int] = ()
    blocks: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.in_shape = self._in = as_shape(self.in_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self.hidden, self.channels = as_shape(self.hidden), as_shape(self.channels)
        widths = [math.prod(self._in), *self.hidden]
        layers = hidden_layers(widths, nn.ReLU)
        if self.channels:
            start = (self.channels[0], *halvings(image_shape(self._out, "Generator"), self.channels)[-1])
            layers += [nn.Linear(widths[-1], math.prod(start)), nn.Unflatten(-1, start)]
            layers += doublings(self.channels, self._out, self.blocks, nn.ReLU)
        else:
            layers += [nn.Linear(widths[-1], math.prod(self._out))]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """The data for `z`."""
        lead = batch_shape(z, self._in, "Generator")
        out: Tensor = self.layers(z.reshape(math.prod(lead), math.prod(self._in)))
        return out.reshape((*lead, *self._out))


def image_shape(shape: tuple[int, ...], who: str) -> tuple[int, int, int]:
    """The shape (channels, height, width), which convolutions need.

    Raises:
        ValueError: another number of dimensions.
    """
    if len(shape) != 3:
        raise ValueError(
            f"{who}: convolutions are for images of shape (channels, height, width), got {shape}: leave channels out"
        )
    return shape[0], shape[1], shape[2]
