"""The hierarchical variational autoencoder: a Markov chain of latents."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior, StandardNormal
from pyrogen.models.event_story import EventStory
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch


class HierarchicalVAE(EventStory):
    """z_T ~ prior,  z_t | z_{t+1} ~ conditional(decoder_t(z_{t+1})),  x | z_1 ~ likelihood(decoder_0(z_1)).

    Guided from the bottom up, with z_0 = x: q(z_1, ..., z_T | x) = prod_t q(z_t | z_{t-1}), q(z_t | z_{t-1}) =
    posterior(encoder_{t-1}(z_{t-1})). With one latent layer it is the VAE.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latents: number of latents, or their shape, in every layer: z_1 next to the data, ..., z_T.
        likelihood: family of p(x | z_1); `Bernoulli()` by default.
        prior: p(z_T); `StandardNormal(latents[-1])` by default.
        conditional: family of p(z_t | z_{t+1}); `DiagonalNormal()` by default.
        posterior: family of q(z_t | z_{t-1}); `DiagonalNormal()` by default.
        encoders: one for each layer, z_1 first: (batch, *shape of z_{t-1}) -> (batch, *posterior.size(shape of z_t));
            dense networks by default.
        decoders: one for each layer, z_1 first: (batch, *shape of z_t) -> (batch, *size(shape of z_{t-1})), the
            likelihood's size for x, the conditional's for the others; dense networks by default.
        hidden: widths of each dense encoder's hidden layers, reversed in each dense decoder; (200,) by default.

    Raises:
        ValueError: there is no layer, or another number of networks than layers; or the prior is for latents of another
            shape, or does not suit the posterior.

    Example:
        >>> HierarchicalVAE((1, 8, 8), latents=(8, 4, 2), hidden=(16,)).sample(3).shape
        torch.Size([3, 1, 8, 8])

    References:
        Rezende, Mohamed, Wierstra 2014, arXiv:1401.4082; Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519.
    """

    def __init__(
        self,
        event_shape: Shape,
        latents: Sequence[Shape],
        *,
        likelihood: Family = Bernoulli(),  # noqa: B008 (frozen)
        prior: Prior | None = None,
        conditional: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        posterior: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        encoders: Sequence[nn.Module] | None = None,
        decoders: Sequence[nn.Module] | None = None,
        hidden: Sequence[int] = (200,),
    ) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.shapes = (self.event_shape, *map(as_shape, latents))
        self.num_layers, layers = len(self.shapes) - 1, list(itertools.pairwise(self.shapes))
        if not layers:
            raise ValueError(f"{self.name} needs at least one layer of latents, such as latents=(32, 16), got none")
        self.likelihood, self.conditional, self.posterior = likelihood, conditional, posterior
        self.prior = StandardNormal(self.shapes[-1]) if prior is None else prior
        self.prior.check(self.shapes[-1], posterior)
        if encoders is None:
            encoders = [Dense(below, posterior.size(above), hidden) for below, above in layers]
        if decoders is None:
            sizes = [self._family(t).size(shape) for t, shape in enumerate(self.shapes[:-1])]
            decoders = [Dense(above, size, hidden[::-1]) for (_, above), size in zip(layers, sizes, strict=True)]
        self.encoders = self._one_per_layer("encoders", encoders)
        self.decoders = self._one_per_layer("decoders", decoders)

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z_T) ... p(z_1 | z_2) p(x | z_1).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample(f"z{self.num_layers}", self.prior(self.encode))
            for t in range(self.num_layers - 1, 0, -1):
                z = pyro.sample(f"z{t}", self.reverse_conditional(t, z))
            return pyro.sample("x", self.reverse_conditional(0, z), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z_1 | x) q(z_2 | z_1) ... q(z_T | z_{T-1}).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            for t in range(1, self.num_layers + 1):
                x = pyro.sample(f"z{t}", self.forward_conditional(t, x))

    def reverse_conditional(self, t: int, z: Tensor) -> TorchDistribution:
        """p(z_t | z_{t+1}); for t = 0 p(x | z_1).

        Args:
            t: layer of the distribution, from 0 to T - 1.
            z: z_{t+1}, (..., *shape of z_{t+1}).

        Returns:
            Batch shape (...), event shape that of z_t.
        """
        return self._family(t)(flatten_batch(self.decoders[t], z, self.shapes[t + 1]), self.shapes[t])

    def forward_conditional(self, t: int, z: Tensor) -> TorchDistribution:
        """q(z_t | z_{t-1}); for t = 1 q(z_1 | x).

        Args:
            t: layer of the distribution, from 1 to T.
            z: z_{t-1}, (..., *shape of z_{t-1}).

        Returns:
            Batch shape (...), event shape that of z_t.
        """
        return self.posterior(flatten_batch(self.encoders[t - 1], z, self.shapes[t - 1]), self.shapes[t])

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z_T | x), with the layers between at their means.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape that of z_T.
        """
        for t in range(1, self.num_layers):
            x = self.posterior.point(self.forward_conditional(t, x))
        return self.forward_conditional(self.num_layers, x)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize likelihood, posterior and prior from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        for component in (self.likelihood, self.posterior, self.prior):
            component.prepare(data["x"])

    def _one_per_layer(self, argument: str, networks: Sequence[nn.Module]) -> nn.ModuleList:
        if len(networks) != self.num_layers:
            raise ValueError(f"{self.name} has {self.num_layers} layers of latents, got {len(networks)} {argument}")
        return nn.ModuleList(networks)

    def _family(self, t: int) -> Family:
        return self.likelihood if t == 0 else self.conditional
