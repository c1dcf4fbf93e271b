"""The variational autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior, StandardNormal
from pyrogen.models.event_story import EventStory
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch


class VAE(EventStory):
    """z ~ prior,  x | z ~ likelihood(decoder(z)),  guided by q(z | x) = posterior(encoder(x)).

    log p(x) >= ELBO(x) = E_q [log p(x | z)] - KL(q(z | x) || p(z)), in nats per datum.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latent: number of latents, or their shape.
        likelihood: family of p(x | z); `Bernoulli()` by default.
        prior: p(z); `StandardNormal(latent)` by default.
        posterior: family of q(z | x); `DiagonalNormal()` by default.
        encoder: (batch, *event_shape) -> (batch, *posterior.size(latent shape)); a dense network by default.
        decoder: (batch, *latent shape) -> (batch, *likelihood.size(event_shape)); a dense network by default.
        hidden: widths of the dense encoder's hidden layers, reversed in the dense decoder; (400,) by default.

    Raises:
        ValueError: the prior is for latents of another shape, or does not suit the posterior.

    Example:
        >>> VAE((1, 8, 8), latent=2, hidden=(16,)).sample(3).shape
        torch.Size([3, 1, 8, 8])

    References:
        Kingma, Welling 2013, arXiv:1312.6114; Rezende, Mohamed, Wierstra 2014, arXiv:1401.4082.
    """

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        *,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
        prior: Prior | None = None,
        posterior: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        hidden: Sequence[int] = (400,),
    ) -> None:
        super().__init__()
        self.event_shape, self.latent_shape = x, z = as_shape(event_shape), as_shape(latent)
        self.likelihood, self.posterior = likelihood, posterior
        self.prior = StandardNormal(z) if prior is None else prior
        self.prior.check(z, posterior)
        self.encoder = Dense(x, posterior.size(z), hidden) if encoder is None else encoder
        self.decoder = Dense(z, likelihood.size(x), hidden[::-1]) if decoder is None else decoder

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z) p(x | z).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self.encode))
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z | x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z | x).

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape `latent_shape`.
        """
        return self.posterior(flatten_batch(self.encoder, x, self.event_shape), self.latent_shape)

    def decode(self, z: Tensor) -> TorchDistribution:
        """p(x | z).

        Args:
            z: latents, (..., *latent_shape).

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        return self.likelihood(flatten_batch(self.decoder, z, self.latent_shape), self.event_shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the mean z of q(z | x).

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., *event_shape).
        """
        with self.predicting():
            return self.likelihood.point(self.decode(self.posterior.point(self.encode(x.to(self.device)))))

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize likelihood, posterior and prior from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        for component in (self.likelihood, self.posterior, self.prior):
            component.prepare(data["x"])
