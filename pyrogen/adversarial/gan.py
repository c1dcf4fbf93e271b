"""The generative adversarial network."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyrogen.adversarial.story import Adversarial
from pyrogen.distributions import Prior
from pyrogen.nn import Critic, Generator, Shape, flatten_batch


class GAN(Adversarial):
    """z ~ prior,  x = G(z), trained with a critic; see `Adversarial`.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28) or 2.
        latent: number of latents, or their shape.
        prior: p(z); None, the default: standard normal.
        generator: (batch, *latent shape) -> (batch, *event_shape); None, the default: dense.
        critic: (batch, *event_shape) -> (batch,), a score, high for data that seem real; None, the default: dense.
        hidden: widths of the dense generator, reversed those of the dense critic; (128, 128) by default.
        bounded: whether data lie between 0 and 1; None, the default: those of three dimensions, such as images, do.

    Raises:
        ValueError: the prior is for other latents; by `check`, x has another event shape, or leaves its bounds.

    Example:
        >>> from pyrogen import fit
        >>> run = fit(GAN(2, latent=4, hidden=(16,)), torch.randn(64, 2), epochs=2, progress=False)
        >>> run.story.sample(3).shape, "diversity" in run.history[-1]
        (torch.Size([3, 2]), True)

    References:
        Goodfellow et al. 2014, arXiv:1406.2661; Mescheder, Geiger, Nowozin 2018, arXiv:1801.04406.
    """

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        *,
        prior: Prior | None = None,
        generator: nn.Module | None = None,
        critic: nn.Module | None = None,
        hidden: Sequence[int] = (128, 128),
        bounded: bool | None = None,
    ) -> None:
        generator = Generator(latent, event_shape, hidden) if generator is None else generator
        critic = Critic(event_shape, hidden[::-1]) if critic is None else critic
        super().__init__(event_shape, latent, prior=prior, generator=generator, critic=critic, bounded=bounded)

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z), and x = G(z).

        Args:
            x: (n, *event_shape), or None to draw.
            n: number of rows.

        Returns:
            x, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self._encode))
            return pyro.sample("x", dist.Delta(self.decode(z), event_dim=len(self.event_shape)), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """No latents: see `unsupported`.

        Args:
            x: (n, *event_shape).
            n: number of rows.
        """

    def decode(self, z: Tensor) -> Tensor:
        """Generated data G(z).

        Args:
            z: (..., *latent_shape).

        Returns:
            (..., *event_shape).
        """
        return self._made(flatten_batch(self.generator, z, self.latent_shape))

    def score(self, x: Tensor) -> Tensor:
        """The critic's scores.

        Args:
            x: (..., *event_shape).

        Returns:
            (...).
        """
        return flatten_batch(self.critic, self.scaled(x), self.event_shape)
