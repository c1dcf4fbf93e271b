"""Networks that are told a time and a label beside their input, as those of a diffusion are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from pyrogen.nn.shapes import Shape, as_shape, flatten

__all__ = ["DenseDenoiser", "Told", "time_features"]


def time_features(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of times between 0 and 1, (...) -> (..., width), waves from a thousandth of it up to all.

    Example:
        >>> time_features(torch.tensor([0.0, 0.5]), 8).shape
        torch.Size([2, 8])

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Ho, Jain, Abbeel 2020, arXiv:2006.11239.
    """
    power = torch.arange(width // 2, dtype=time.dtype, device=time.device) / max(1, width // 2 - 1)
    angle = time.unsqueeze(-1) * 1000 * torch.exp(-math.log(1000) * power)
    return torch.cat([angle.sin(), angle.cos()], -1)


class Told(nn.Module):
    """Time and label as numbers, (..., width), which scale and shift what is inside a network.

    Args:
        labels: numbers in a label; 0: there is none.
        width: numbers that come out.
        who: whose label it is, for messages.

    Raises:
        ValueError: a label of another size.
    """

    def __init__(self, labels: int, width: int, who: str) -> None:
        super().__init__()
        self.labels, self.width, self.who = labels, width, who
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Linear(labels, width, bias=False) if labels else None

    def forward(self, time: Tensor, label: Tensor | None, lead: tuple[int, ...]) -> Tensor:
        """The numbers of each datum, (*lead, width); without a label, as with one of zeros."""
        told: Tensor = self.time(time_features(time, self.width))
        if label is not None:
            if label.shape[-1] != self.labels or self.label is None:
                size = label.shape[-1]
                raise ValueError(f"{self.who} takes labels of {self.labels} numbers, got {size}: set labels={size}")
            told = told + self.label(label.to(told.dtype))
        return told.expand(*lead, self.width)


@dataclass(eq=False)
class DenseDenoiser(nn.Module):
    """A fully connected network from an event, a time and a label to an event of the same shape.

    Time and label scale and shift every hidden layer, SiLU after it. As mere inputs beside the event they would drown
    one of a few numbers.

    Args:
        event_shape: of the input and of the output; flattened.
        hidden: widths of the hidden layers.
        labels: numbers in a label; 0: there is none.
        width: of what layers are told of time and label.

    Shapes:
        (..., *event_shape), time (...) between 0 and 1, label (..., labels) or None -> (..., *event_shape), for any
        leading dimensions, against which time and label broadcast.

    Raises:
        ValueError: an input that does not end in `event_shape`, or a label of another size.

    Example:
        >>> DenseDenoiser(2, hidden=(16,))(torch.zeros(5, 3, 2), torch.rand(3)).shape
        torch.Size([5, 3, 2])

    References:
        Perez, Strub, de Vries, Dumoulin, Courville 2017, arXiv:1709.07871 (scale and shift).
    """

    event_shape: Shape
    hidden: Sequence[int] = (256, 256, 256)
    labels: int = 0
    width: int = 64

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._event = as_shape(self.event_shape)
        self.hidden = as_shape(self.hidden)
        size = math.prod(self._event)
        self.told = Told(self.labels, self.width, "DenseDenoiser")
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise([size, *self.hidden]))
        self.hear = nn.ModuleList(nn.Linear(self.width, 2 * size) for size in self.hidden)
        self.last = nn.Linear([size, *self.hidden][-1], size)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """The outputs for `x` at `time`."""
        inside = flatten(x, self._event, "DenseDenoiser")
        told = self.told(time, label, tuple(inside.shape[:-1]))
        for layer, hear in zip(self.layers, self.hear, strict=True):
            scale, shift = hear(told).chunk(2, -1)
            inside = silu(layer(inside) * (1 + scale) + shift)
        out: Tensor = self.last(inside)
        return out.reshape(x.shape)
