"""Critics: networks that give a datum a score, and the features that the score is made of."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pyrogen.nn.conv.conv import halvings, strided
from pyrogen.nn.conv.generators import image_shape
from pyrogen.nn.dense import hidden_layers
from pyrogen.nn.shapes import Shape, as_shape, batch_shape

__all__ = ["Critic"]

_leaky = functools.partial(nn.LeakyReLU, 0.2)


@dataclass(eq=False)
class Critic(nn.Module):
    """A score of a datum, or of a datum with its label: linear in features of the datum and, bilinear, in the label.

    score(x) = w . f(x) + b,    score(x, y) = w . f(x) + b + y' V f(x)

    The second is the projection critic: where the logarithms of p(y | x) and q(y | x) are linear in f, so is the
    optimal score. f are convolutions that halve height and width, for images, and then dense layers, LeakyReLU with a
    slope of 0.2 below 0 after each.

    Args:
        event_shape: of a datum; (channels, height, width) where there are convolutions.
        hidden: widths of the dense layers, the last of which gives the features.
        channels: of the convolutions, one halving each; `()`: dense layers alone.
        blocks: residual blocks after each halving.
        labels: numbers in a label, such as one for each class; 0: there is none.
        spectral: divide every weight by its largest singular value, of which a step of power iteration keeps track, so
            that no layer stretches its input.

    Shapes:
        (..., *event_shape), label (..., labels) or None -> (...), for any leading dimensions.

    Raises:
        ValueError: the input does not end in `event_shape`, a label is missing or of another size, `channels` for data
            that are no images, or no dense layer.

    Example:
        >>> import torch
        >>> critic = Critic((1, 28, 28), hidden=(64,), channels=(32, 64), labels=10)
        >>> x, y = torch.zeros(5, 1, 28, 28), torch.eye(10)[:5]
        >>> critic(x, y).shape, critic.features(x).shape
        (torch.Size([5]), torch.Size([5, 64]))

    References:
        Radford, Metz, Chintala 2015, arXiv:1511.06434 (DCGAN); Miyato, Koyama 2018, arXiv:1802.05637 (projection);
        Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957 (spectral normalization).
    """

    event_shape: Shape
    hidden: Sequence[int] = (128, 128)
    channels: Sequence[int] = ()
    blocks: int = 0
    labels: int = 0
    spectral: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._event = as_shape(self.event_shape)
        self.hidden, self.channels = as_shape(self.hidden), as_shape(self.channels)
        if not self.hidden:
            raise ValueError("Critic needs at least one dense layer, whose outputs are the features: hidden=(128,)")
        layers: list[nn.Module] = [nn.Flatten()]
        size = math.prod(self._event)
        if self.channels:
            coarsest = halvings(image_shape(self._event, "Critic"), self.channels)[-1]
            layers = [*strided([self._event[0], *self.channels], self.blocks, _leaky), nn.Flatten()]
            size = self.channels[-1] * math.prod(coarsest)
        self.layers = nn.Sequential(*layers, *hidden_layers([size, *self.hidden], _leaky))
        self.score = nn.Linear(self.hidden[-1], 1)
        self.label = nn.Linear(self.labels, self.hidden[-1], bias=False) if self.labels else None
        for module in list(self.modules()) if self.spectral else []:
            if isinstance(module, nn.Linear | nn.Conv2d):
                spectral_norm(module)

    def features(self, x: Tensor) -> Tensor:
        """The features f(x), (..., hidden[-1]), of `x` (..., *event_shape)."""
        lead = batch_shape(x, self._event, "Critic")
        out: Tensor = self.layers(x.reshape(math.prod(lead), *(self._event or (1,))))
        return out.reshape((*lead, self.hidden[-1]))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The scores of `x`, told its `label` where the critic knows labels."""
        size = 0 if label is None else label.shape[-1]
        if size != self.labels:
            raise ValueError(f"Critic takes labels of {self.labels} numbers, got {size}: set labels={size}")
        features = self.features(x)
        score: Tensor = self.score(features).squeeze(-1)
        if label is None or self.label is None:
            return score
        return score + (features * self.label(label.to(features.dtype))).sum(-1)
