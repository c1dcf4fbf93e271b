"""The VAE/GAN: a variational autoencoder whose errors are measured in a critic's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyrogen.adversarial.gan import GAN
from pyrogen.adversarial.rivals import GeneratorLoss
from pyrogen.distributions import DiagonalNormal, Family, Prior
from pyrogen.inference.program.program import Program
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch
from pyrogen.story import Batch

_ROWS_FOR_SCALE = 1000
"""Training data from which the scale of the features is taken."""


class VAEGAN(GAN):
    """z ~ prior,  x = G(z),  f(x) ~ N(f(G(z)), s^2 I) for the critic's features f,  guided by q(z | x).

    Encoder, generator and s maximize the ELBO of the features,

    E_q [log N(f(x); f(G(z)), s^2 I)] - KL(q(z | x) || p(z)), in nats per datum,

    which ignores details of x that the critic ignores, such as where each pixel of a stroke lies. The generator also
    minimizes the adversarial loss of draws G(z) from the prior and of reconstructions G(z) for z from the guide; the
    encoder does not. The history holds the ELBO (`train_elbo`, `validation_elbo`). As the features change with the
    critic, it is not comparable between epochs, and does not select weights. See `Adversarial`.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28) or 2.
        latent: number of latents, or their shape.
        weight: of the adversarial loss beside the ELBO, which is a sum over features; 10,000 by default.
        prior: p(z); None, the default: standard normal.
        posterior: family of q(z | x); `DiagonalNormal()` by default.
        encoder: (batch, *event_shape) -> (batch, *posterior.size(latent shape)); None, the default: dense.
        generator: (batch, *latent shape) -> (batch, *event_shape); None, the default: dense.
        critic: (batch, *event_shape) -> (batch,), a score, with a method `features(x)` (..., F); None, the
            default: dense.
        hidden: widths of the dense generator, reversed those of dense encoder and critic; (128, 128) by default.
        bounded: whether data lie between 0 and 1; None, the default: those of three dimensions, such as images, do.

    Raises:
        ValueError: a weight that is not positive; the prior is for other latents, or does not suit the posterior; by
            `check`, x has another event shape, or leaves its bounds.

    Example:
        >>> story = VAEGAN((1, 8, 8), latent=4, hidden=(16,))
        >>> story.reconstruct(story.sample(5)).shape
        torch.Size([5, 1, 8, 8])

    References:
        Larsen, Sonderby, Larochelle, Winther 2016, arXiv:1512.09300.
    """

    unsupported = {what: why for what, why in GAN.unsupported.items() if what != "guide"}
    elbo = True

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        *,
        weight: float = 10000.0,
        prior: Prior | None = None,
        posterior: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        encoder: nn.Module | None = None,
        generator: nn.Module | None = None,
        critic: nn.Module | None = None,
        hidden: Sequence[int] = (128, 128),
        bounded: bool | None = None,
    ) -> None:
        super().__init__(
            event_shape, latent, prior=prior, generator=generator, critic=critic, hidden=hidden, bounded=bounded
        )
        if not weight > 0:
            raise ValueError(f"{self.name} needs a weight above 0, got weight={weight!r}")
        self.prior.check(self.latent_shape, posterior)
        self.weight, self.posterior = weight, posterior
        self.log_noise = nn.Parameter(torch.zeros(()))
        size = posterior.size(as_shape(latent))
        self.encoder = Dense(self.event_shape, size, hidden[::-1]) if encoder is None else encoder

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z), x = G(z), which is not scored, and, where there are data, their features given z.

        Args:
            x: (n, *event_shape), or None to draw.
            n: number of rows.

        Returns:
            x, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self.encode))
            made = self.decode(z)
            drawn = pyro.sample("x", dist.Delta(made, event_dim=len(self.event_shape)).mask(False), obs=x)
            if x is not None:
                seen = dist.Normal(self.features(made), self.log_noise.exp())
                pyro.sample("features", seen.to_event(1), obs=self.features(x))
        return drawn

    def guide(self, x: Tensor, n: int) -> None:
        """q(z | x).

        Args:
            x: (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> TorchDistribution:
        """The distribution q(z | x).

        Args:
            x: (..., *event_shape).

        Returns:
            Of batch shape (...) and event shape (*latent_shape).
        """
        return self.posterior(flatten_batch(self.encoder, self.scaled(x), self.event_shape), self.latent_shape)

    def features(self, x: Tensor) -> Tensor:
        """The critic's features f(x).

        Args:
            x: (..., *event_shape).

        Returns:
            (..., F).
        """
        critic: Any = self.critic
        return flatten_batch(critic.features, self.scaled(x), self.event_shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """G at the mean z of q(z | x).

        Args:
            x: (..., *event_shape).

        Returns:
            (..., *event_shape).
        """
        with self.predicting():
            return self.decode(self.posterior.point(self.encode(x.to(self.device))))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Take the scale of unbounded data, and that of the features, from the training columns.

        Args:
            data: the columns.
        """
        super().prepare(data)
        self.log_noise.copy_(self.features(data["x"][:_ROWS_FOR_SCALE]).std(0).square().mean().sqrt().log())

    def generated(self, program: Program, batch: Batch) -> Tensor:
        """Draws of the model, and reconstructions; no gradient reaches the encoder.

        Args:
            program: the story's.
            batch: n rows.

        Returns:
            (2n, *event_shape), reconstructions last.
        """
        with torch.no_grad():
            z = self.encode(batch.columns["x"])()
        return torch.cat([super().generated(program, batch), self.decode(z)])

    def generator_loss(self, program: Program, batch: Batch, adversarial: GeneratorLoss) -> tuple[Tensor, Tensor]:
        """Minus the ELBO of the features plus the weighted adversarial loss.

        Args:
            program: the story's.
            batch: n rows.
            adversarial: from generated data to the adversarial loss.

        Returns:
            The loss, and minus the ELBO, in nats per datum.
        """
        minus_elbo = Trace_ELBO().differentiable_loss(program.model, program.guide, batch) / batch.n
        return minus_elbo + self.weight * adversarial(self.generated(program, batch)), minus_elbo.detach()
