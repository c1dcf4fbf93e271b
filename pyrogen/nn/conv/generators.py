"""Generators: networks from latent variables to data, for adversarial training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pyrogen.annotations import CountOrZero
from pyrogen.nn.conv.blocks import downsampled_sizes, upsampling_layers
from pyrogen.nn.dense import hidden_layers
from pyrogen.nn.shapes import Shape, as_shape, batch_shape, image_shape


@dataclass(eq=False)
class Generator(nn.Module):
    """Generator: dense layers, then, for images, transposed convolutions that double height and width.

    ReLU follows every layer but the last: its kinks separate the modes of connected latents, where smooth or leaky
    activations leave bridges between them. With `channels` it is the generator of DCGAN, for images of any size and
    without batch normalization; with `blocks`, a residual one.

    Args:
        in_shape: event shape of the latents, which are flattened.
        out_shape: event shape of the data; (channels, height, width) where there are convolutions.
        hidden: widths of the dense layers, (128, 128) by default.
        channels: input channels of the transposed convolutions, each of which doubles the size; `()`, the default, for
            dense layers alone.
        blocks: residual blocks before each transposed convolution, 0 by default.

    Raises:
        ValueError: `channels` are given for data that are not images.

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
    blocks: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.in_shape = self._in = as_shape(self.in_shape)
        self.out_shape = self._out = as_shape(self.out_shape)
        self.hidden, self.channels = as_shape(self.hidden), as_shape(self.channels)
        widths = [math.prod(self._in), *self.hidden]
        layers = hidden_layers(widths, nn.ReLU)
        if self.channels:
            image = image_shape(self._out, "Generator with channels", "leave channels out")
            start = (self.channels[0], *downsampled_sizes(image, self.channels)[-1])
            layers += [nn.Linear(widths[-1], math.prod(start)), nn.Unflatten(-1, start)]
            layers += upsampling_layers(self.channels, image, self.blocks, nn.ReLU)
        else:
            layers += [nn.Linear(widths[-1], math.prod(self._out))]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Generate data.

        Args:
            z: latents of shape (..., *in_shape), with any batch dimensions.

        Returns:
            Data of shape (..., *out_shape).
        """
        lead = batch_shape(z, self._in, "Generator")
        return self.layers(z.reshape(math.prod(lead), math.prod(self._in))).reshape((*lead, *self._out))
