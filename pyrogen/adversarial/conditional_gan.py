"""The conditional generative adversarial network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.adversarial.story import Adversarial
from pyrogen.distributions import Prior
from pyrogen.nn import Critic, Generator, Label, Shape, as_shape, flatten, flatten_batch
from pyrogen.story import Labelled


class ConditionalGAN(Labelled, Adversarial):
    """z ~ prior,  x = G(z, y), trained with a critic that receives y too; see `Adversarial`.

    As z is independent of y, it carries what y does not determine of x.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28) or 2.
        latent: number of latents, or their shape.
        classes: number of classes, y is int64 (n,); None by default.
        condition: in place of `classes`: size or shape of a vector y, float (n, *condition); None by default.
        prior: p(z); None, the default: standard normal.
        generator: (batch, latents + C) -> (batch, *event_shape), for the latents and, behind them, C numbers of the
            label (one for each class, 0 or 1; or y's own); None, the default: dense.
        critic: (batch, *event_shape), label (batch, C) -> (batch,), a score; None, the default: a dense projection
            critic.
        hidden: widths of the dense generator, reversed those of the dense critic; (128, 128) by default.
        bounded: whether data lie between 0 and 1; None, the default: those of three dimensions, such as images, do.

    Raises:
        ValueError: both or neither of `classes` and `condition`; the prior is for other latents; by `check`, x or y has
            another shape, x leaves its bounds, or y is a label that is none of the classes.

    Example:
        >>> story = ConditionalGAN((1, 8, 8), latent=4, classes=10, hidden=(16,))
        >>> story.sample(5, y=3).shape
        torch.Size([5, 1, 8, 8])

    References:
        Mirza, Osindero 2014, arXiv:1411.1784; Miyato, Koyama 2018, arXiv:1802.05637 (projection critic).
    """

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        classes: int | None = None,
        condition: Shape | None = None,
        *,
        prior: Prior | None = None,
        generator: nn.Module | None = None,
        critic: nn.Module | None = None,
        hidden: Sequence[int] = (128, 128),
        bounded: bool | None = None,
    ) -> None:
        label = Label(classes, condition)
        inputs = math.prod(as_shape(latent)) + label.size
        generator = Generator(inputs, event_shape, hidden) if generator is None else generator
        critic = Critic(event_shape, hidden[::-1], labels=label.size) if critic is None else critic
        super().__init__(event_shape, latent, prior=prior, generator=generator, critic=critic, bounded=bounded)
        self.label, self.classes = label, classes

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:
        """p(z), and x = G(z, y).

        Args:
            x: (n, *event_shape), or None to draw.
            y: (n,) labels, or (n, *condition) vectors.
            n: number of rows.

        Returns:
            x, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self._encode))
            return pyro.sample("x", dist.Delta(self.decode(z, y), event_dim=len(self.event_shape)), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """No latents: see `unsupported`.

        Args:
            x: (n, *event_shape).
            y: (n,) labels, or (n, *condition) vectors.
            n: number of rows.
        """

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Generated data G(z, y).

        Args:
            z: (..., *latent_shape).
            y: (...) labels, or (..., *condition) vectors.

        Returns:
            (..., *event_shape).
        """
        beside = torch.cat([flatten(z, self.latent_shape, self.name), self.label(y)], -1)
        return self._made(flatten_batch(self.generator, beside, (beside.shape[-1],)))

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """The critic's scores of data and labels.

        Args:
            x: (n, *event_shape).
            y: (n,) labels, or (n, *condition) vectors.

        Returns:
            (n,).
        """
        return self.critic(self.scaled(x), self.label(y))
