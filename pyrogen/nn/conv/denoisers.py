"""Networks of diffusion models: functions of a noisy event, a time and a label."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from pyrogen.annotations import Count, CountOrZero
from pyrogen.nn.shapes import Shape, as_shape, flatten


def time_features(time: Tensor, width: int) -> Tensor:
    """Compute sinusoidal features of times, whose wavelengths run from 2 pi / 1000 to 2 pi.

    Args:
        time: times between 0 and 1, shape (...).
        width: number of features, even.

    Returns:
        Sines, then cosines, shape (..., width).

    Example:
        >>> time_features(torch.tensor([0.0, 0.5]), 8).shape
        torch.Size([2, 8])

    References:
        Vaswani et al. 2017, arXiv:1706.03762; Ho, Jain, Abbeel 2020, arXiv:2006.11239.
    """
    power = torch.arange(width // 2, dtype=time.dtype, device=time.device) / max(1, width // 2 - 1)
    angle = time.unsqueeze(-1) * 1000 * torch.exp(-math.log(1000) * power)
    return torch.cat([angle.sin(), angle.cos()], -1)


class TimeLabelEmbedding(nn.Module):
    """Embedding of a time and a label: a dense network of `time_features(time)`, plus a linear map of the label.

    Args:
        labels: size of a label vector; 0 without labels.
        width: size of the embedding.
        name: of the network, for the error message.
    """

    def __init__(self, labels: int, width: int, name: str) -> None:
        super().__init__()
        self.labels, self.width, self.name = labels, width, name
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Linear(labels, width, bias=False) if labels else None

    def forward(self, time: Tensor, label: Tensor | None, batch_shape: tuple[int, ...]) -> Tensor:
        """Embed times and labels.

        Args:
            time: times between 0 and 1, of a shape that broadcasts to `batch_shape`.
            label: label vectors (..., labels); None has the embedding of a label of zeros.
            batch_shape: batch dimensions of the data.

        Returns:
            Embeddings of shape (*batch_shape, width).

        Raises:
            ValueError: the label has another size than `labels`.
        """
        embedding: Tensor = self.time(time_features(time, self.width))
        if label is not None:
            size = label.shape[-1]
            if size != self.labels or self.label is None:
                raise ValueError(f"{self.name} takes labels of {self.labels} numbers, got {size}: set labels={size}")
            embedding = embedding + self.label(label.to(embedding.dtype))
        return embedding.expand(*batch_shape, self.width)


@dataclass(eq=False)
class DenseDenoiser(nn.Module):
    """Fully connected network from an event, a time and a label to an event of the same shape.

    The embedding of time and label scales and shifts every hidden layer, before its SiLU. Concatenated to the input of
    the first layer, it would have little effect beside an event of many elements.

    Args:
        event_shape: event shape of input and output, which is flattened.
        hidden: widths of the hidden layers, (256, 256, 256) by default.
        labels: size of a label vector; 0, the default, without labels.
        width: size of the embedding of time and label, 64 by default.

    Raises:
        ValueError: a shape or a width is not positive.

    Example:
        >>> DenseDenoiser(2, hidden=(16,))(torch.zeros(5, 3, 2), torch.rand(3)).shape
        torch.Size([5, 3, 2])

    References:
        Perez, Strub, de Vries, Dumoulin, Courville 2017, arXiv:1709.07871 (scale and shift).
    """

    event_shape: Shape
    hidden: Sequence[int] = (256, 256, 256)
    labels: CountOrZero = 0
    width: Count = 64

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._event = as_shape(self.event_shape)
        self.hidden = as_shape(self.hidden)
        size = math.prod(self._event)
        self.embedding = TimeLabelEmbedding(self.labels, self.width, "DenseDenoiser")
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise([size, *self.hidden]))
        self.scale_shift = nn.ModuleList(nn.Linear(self.width, 2 * size) for size in self.hidden)
        self.last = nn.Linear([size, *self.hidden][-1], size)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Apply the network.

        Args:
            x: events of shape (..., *event_shape), with any batch dimensions.
            time: times between 0 and 1, of a shape that broadcasts to the batch dimensions.
            label: label vectors (..., labels), which broadcast likewise; None, the default, acts as zeros.

        Returns:
            Events of the shape of `x`.
        """
        hidden = flatten(x, self._event, "DenseDenoiser")
        embedding = self.embedding(time, label, tuple(hidden.shape[:-1]))
        for layer, scale_shift in zip(self.layers, self.scale_shift, strict=True):
            scale, shift = scale_shift(embedding).chunk(2, -1)
            hidden = silu(layer(hidden) * (1 + scale) + shift)
        return self.last(hidden).reshape(x.shape)
