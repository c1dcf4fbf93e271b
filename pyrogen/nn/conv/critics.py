"""Critics: networks that score data, for adversarial training."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pyrogen.annotations import CountOrZero
from pyrogen.nn.conv.blocks import downsampled_sizes, downsampling_layers
from pyrogen.nn.dense import hidden_layers
from pyrogen.nn.shapes import Shape, as_shape, flatten_batch, image_shape

_leaky = functools.partial(nn.LeakyReLU, 0.2)


@dataclass(eq=False)
class Critic(nn.Module):
    """Score of a datum, or of a datum and its label: linear in features of the datum, and bilinear with the label.

    score(x) = w . f(x) + b,    score(x, y) = w . f(x) + b + y' V f(x)

    The second is the projection critic: where log p(y | x) and log q(y | x) are linear in f, so is the optimal score.
    The features f are convolutions that halve height and width, for images, then dense layers, with LeakyReLU of
    negative slope 0.2 after each.

    Args:
        event_shape: shape of a datum; (channels, height, width) where there are convolutions.
        hidden: widths of the dense layers, (128, 128) by default; the last gives the features.
        channels: output channels of the convolutions, each of which halves the size; `()`, the default, for dense
            layers alone.
        blocks: residual blocks after each convolution, 0 by default.
        labels: size of a label vector, such as the number of classes; 0, the default, without labels.
        spectral: whether to apply spectral normalization to every weight, which makes each layer 1-Lipschitz; False by
            default.

    Raises:
        ValueError: `hidden` is empty, or `channels` are given for data that are not images.

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
    blocks: CountOrZero = 0
    labels: CountOrZero = 0
    spectral: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.event_shape = self._event = as_shape(self.event_shape)
        self.hidden, self.channels = as_shape(self.hidden), as_shape(self.channels)
        if not self.hidden:
            raise ValueError("Critic needs at least one dense layer, whose outputs are the features: set hidden=(128,)")
        layers: list[nn.Module] = [nn.Flatten()]
        size = math.prod(self._event)
        if self.channels:
            image = image_shape(self._event, "Critic with channels", "leave channels out")
            layers = [*downsampling_layers([image[0], *self.channels], self.blocks, _leaky), nn.Flatten()]
            size = self.channels[-1] * math.prod(downsampled_sizes(image, self.channels)[-1])
        self.layers = nn.Sequential(*layers, *hidden_layers([size, *self.hidden], _leaky))
        self.score = nn.Linear(self.hidden[-1], 1)
        self.label = nn.Linear(self.labels, self.hidden[-1], bias=False) if self.labels else None
        for module in list(self.modules()) if self.spectral else []:
            if isinstance(module, nn.Linear | nn.Conv2d):
                spectral_norm(module)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features f(x).

        Args:
            x: data of shape (..., *event_shape), with any batch dimensions.

        Returns:
            Features of shape (..., hidden[-1]).
        """
        x, event = (x, self._event) if self._event else (x.unsqueeze(-1), (1,))
        return flatten_batch(self.layers, x, event, "Critic")

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Score data.

        Args:
            x: data of shape (..., *event_shape), with any batch dimensions.
            label: label vectors of shape (..., labels); None, the default, where `labels` is 0.

        Returns:
            Scores of shape (...).

        Raises:
            ValueError: the label is missing or of another size than `labels`.
        """
        size = 0 if label is None else label.shape[-1]
        if size != self.labels:
            raise ValueError(f"Critic takes labels of {self.labels} numbers, got {size}: set labels={size}")
        features = self.features(x)
        score: Tensor = self.score(features).squeeze(-1)
        if label is None or self.label is None:
            return score
        return score + (features * self.label(label.to(features.dtype))).sum(-1)
