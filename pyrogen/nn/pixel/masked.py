"""Masked layers, whose outputs follow an order of their inputs: MADE and masked convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.shapes import Shape, as_shape, batch_shape


@dataclass(eq=False)
class MaskedDense(nn.Module):
    """MADE: fully connected network whose outputs for an element depend only on the elements before it.

    A hidden unit has a degree d and is connected to units of degree d and less; the outputs for element i are connected
    to degrees below i. Elements are in the order of memory.

    Args:
        event_shape: event shape of the input, which is flattened.
        outputs: number of outputs for each element, 1 by default.
        hidden: widths of the hidden layers, none below the number of elements; (1000,) by default.
        context: size of a context vector on which all outputs depend; 0, the default, without one.

    Raises:
        ValueError: a hidden layer is narrower than the event, so that some output would be constant.

    Example:
        >>> import torch
        >>> MaskedDense((1, 8, 8), outputs=2, hidden=(100,))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64, 2])

    References:
        Germain, Gregor, Murray, Larochelle 2015, arXiv:1502.03509.
    """

    unit: ClassVar[tuple[int, ...]] = ()
    by_pixel: ClassVar[bool] = False

    event_shape: Shape
    outputs: Count = 1
    hidden: Sequence[int] = (1000,)
    context: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._in = as_shape(self.event_shape)
        self.hidden = as_shape(self.hidden)
        elements, widths = math.prod(self._in), list(self.hidden)
        if min(widths) < elements:
            raise ValueError(f"MaskedDense needs hidden layers of at least {elements} units, got hidden={self.hidden}")
        options: Any = {"param_dims": [self.outputs], "permutation": torch.arange(elements), "nonlinearity": nn.SiLU()}
        if self.context:
            self.network: Any = ConditionalAutoRegressiveNN(elements, self.context, widths, **options)
        else:
            self.network = AutoRegressiveNN(elements, widths, **options)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Compute the outputs for all elements.

        Args:
            x: events of shape (batch, *event_shape).
            context: shape (batch, context); None, the default, for a network without a context.

        Returns:
            Outputs of shape (batch, elements, outputs).
        """
        batch_shape(x, self._in, "MaskedDense")
        out: Tensor = self.network(x.flatten(1), *([] if context is None else [context]))
        return out[..., None] if self.outputs == 1 else out.transpose(1, 2)


class MaskedConv2d(nn.Conv2d):
    """Convolution of the rows above a pixel, and of what is to its left in its own row; the size stays the same.

    Channels come in groups, one for each of an image's channels, in their order. At its own pixel a group is connected
    to the groups before it, and with mask type "B" to itself too. With "A" in the first layer and "B" in all that
    follow, outputs for a channel depend on the pixels before it, and on the channels before it in its own pixel.

    Args:
        in_channels: number of channels of the input.
        out_channels: number of channels of the output.
        kernel_size: height and width of the kernel without its mask, odd; one number for both, or a pair.
        channel_groups: number of groups, which divides both numbers of channels; 1, the default, treats a pixel as a
            whole.
        mask_type: "A", the default, or "B", with which a group is connected to itself.

    Raises:
        ValueError: the kernel is even, or the groups do not divide the channels.

    Example:
        >>> import torch
        >>> conv = MaskedConv2d(1, 1, kernel_size=3)
        >>> conv.mask[0, 0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        channel_groups: int = 1,
        mask_type: Literal["A", "B"] = "A",
    ) -> None:
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        if not height % 2 or not width % 2:
            raise ValueError(f"MaskedConv2d needs an odd kernel, which has a middle, got {height} by {width}")
        if in_channels % channel_groups or out_channels % channel_groups:
            raise ValueError(
                f"channel_groups={channel_groups} must divide the channels, {in_channels} and {out_channels}"
            )
        self.above, self.beside = height // 2, width // 2
        super().__init__(in_channels, out_channels, (self.above + 1, width))
        groups = torch.arange(channel_groups)
        source, target = (groups.repeat_interleave(n // channel_groups) for n in (in_channels, out_channels))
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, self.beside :] = 0
        mask[:, :, -1, self.beside] = (source < target[:, None] + (mask_type == "B")).float()
        self.mask = nn.Buffer(mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images.

        Args:
            x: images of shape (batch, in_channels, height, width).

        Returns:
            Images of shape (batch, out_channels, height, width).
        """
        return conv2d(pad(x, (self.beside, self.beside, self.above, 0)), self.weight * self.mask, self.bias)


def shift_down(x: Tensor) -> Tensor:
    """Replace every row of an image by the one above it, and the first by zeros.

    Args:
        x: images of shape (batch, channels, height, width).

    Returns:
        Images of the same shape.
    """
    return pad(x, (0, 0, 1, 0))[:, :, :-1]
