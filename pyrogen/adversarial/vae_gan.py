"""The VAE/GAN: a variational autoencoder whose errors are measured in what a critic sees."""

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
from pyrogen.adversarial.steps import GeneratorLoss
from pyrogen.distributions import DiagonalNormal, Family, Prior
from pyrogen.inference.program.program import Program
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch
from pyrogen.story import Batch

__all__ = ["VAEGAN"]

_LOOKED_AT = 1000
"""Training data from which the scale of the features is taken."""


class VAEGAN(GAN):
    """z ~ prior,  x = G(z),  f(x) ~ N(f(G(z)), s^2 I) for the critic's features f,  guided by q(z | x).

    Encoder, generator and s maximize the ELBO of the features,

    E_q [log N(f(x); f(G(z)), s^2 I)] - KL(q(z | x) || p(z)), in nats per datum,

    which leaves out of x what the critic does not look at, such as where each pixel of a stroke lies. The generator
    besides plays against the critic, which is shown data, draws G(z) of the prior, and reconstructions G(z) for z of
    the guide; the encoder has no part in that. History tells the ELBO (`train_elbo`, `validation_elbo`). As the
    features change with the critic, it does not compare between epochs, and chooses no weights. See `Adversarial` for
    how the two train.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28) or 2.
        latent: number of latents, or their shape.
        weight: of the generator's loss in the game, where a hundredth says much, beside the ELBO, a sum over features.
        prior: p(z); None: standard normal.
        posterior: family of q(z | x).
        encoder: (batch, *event_shape) -> (batch, *posterior.size(latent shape)); None: dense.
        generator: (batch, *latent shape) -> (batch, *event_shape); None: dense.
        critic: (batch, *event_shape) -> (batch,), a score, with a method `features(x)` (..., F); None: dense.
        hidden: widths of the dense generator; backwards, those of the dense encoder and critic.
        bounded: whether data lie between 0 and 1; None: those of three dimensions, as images have them, do.

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
        """p(z), x = G(z), which is not scored, and where there are data, their features given z."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self.encode))
            made = self.decode(z)
            drawn = pyro.sample("x", dist.Delta(made, event_dim=len(self.event_shape)).mask(False), obs=x)
            if x is not None:
                seen = dist.Normal(self.features(made), self.log_noise.exp())
                pyro.sample("features", seen.to_event(1), obs=self.features(x))
        return drawn

    def guide(self, x: Tensor, n: int) -> None:
        """q(z | x)."""
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z | x) for `x` (..., *event_shape)."""
        return self.posterior(flatten_batch(self.encoder, self.scaled(x), self.event_shape), self.latent_shape)

    def features(self, x: Tensor) -> Tensor:
        """The critic's features f(x), (..., F), of `x` (..., *event_shape)."""
        critic: Any = self.critic
        return flatten_batch(critic.features, self.scaled(x), self.event_shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """G at the mean z of q(z | x), (..., *event_shape)."""
        with self.predicting():
            return self.decode(self.posterior.point(self.encode(x.to(self.device))))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Take the scale of unbounded data, and that of the features, from the training columns."""
        super().prepare(data)
        self.log_noise.copy_(self.features(data["x"][:_LOOKED_AT]).std(0).square().mean().sqrt().log())

    def generated(self, program: Program, batch: Batch) -> Tensor:
        """Draws of the model, and behind them reconstructions, (2n, *event_shape); no gradient reaches the encoder."""
        with torch.no_grad():
            z = self.encode(batch.columns["x"])()
        return torch.cat([super().generated(program, batch), self.decode(z)])

    def generator_loss(self, program: Program, batch: Batch, judge: GeneratorLoss) -> tuple[Tensor, Tensor]:
        """Minus the ELBO of the features, and the game; the first of them is told."""
        minus_elbo = Trace_ELBO().differentiable_loss(program.model, program.guide, batch) / batch.n
        return minus_elbo + self.weight * judge(self.generated(program, batch)), minus_elbo.detach()
