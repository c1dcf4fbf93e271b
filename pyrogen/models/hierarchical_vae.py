"""The hierarchical variational autoencoder: a Markov chain of latents."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior, StandardNormal
from pyrogen.nn import Dense, Shape, as_shape, flatten_batch
from pyrogen.story import Story, check_event

__all__ = ["HierarchicalVAE"]


class HierarchicalVAE(Story):
    """z_T ~ prior,  z_t | z_{t+1} ~ conditional(decoder_t(z_{t+1})),  x | z_1 ~ likelihood(decoder_0(z_1)).

    Guided from the bottom up, with z_0 = x: q(z_1, ..., z_T | x) = prod_t q(z_t | z_{t-1}), q(z_t | z_{t-1}) =
    posterior(encoder_{t-1}(z_{t-1})). With one latent layer it is the VAE.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latents: number of latents, or their shape, in every layer: z_1 next to the data, ..., z_T.
        likelihood: family of p(x | z_1).
        prior: p(z_T); None: standard normal.
        conditional: family of p(z_t | z_{t+1}).
        posterior: family of q(z_t | z_{t-1}).
        encoders: one for each layer, z_1 first: (batch, *shape of z_{t-1}) -> (batch, *posterior.size(shape of z_t));
            None: dense.
        decoders: one for each layer, z_1 first: (batch, *shape of z_t) -> (batch, *size(shape of z_{t-1})), the
            likelihood's size for x, the conditional's for the others; None: dense.
        hidden: widths of each dense encoder; backwards, those of each dense decoder.

    Raises:
        ValueError: no layer, another number of networks, or the prior is for other latents or does not suit the
            posterior; by `check`, x has another event shape, or no density.

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
        self.shapes = (as_shape(event_shape), *map(as_shape, latents))
        self.depth, layers = len(self.shapes) - 1, list(itertools.pairwise(self.shapes))
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
        self.encoders, self.decoders = self._each("encoders", encoders), self._each("decoders", decoders)

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z_T) ... p(z_1 | z_2) p(x | z_1)."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample(f"z{self.depth}", self.prior(self.encode))
            for t in range(self.depth - 1, 0, -1):
                z = pyro.sample(f"z{t}", self.below(t, z))
            return pyro.sample("x", self.below(0, z), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z_1 | x) q(z_2 | z_1) ... q(z_T | z_{T-1})."""
        with pyro.plate("data", n, dim=-1):
            for t in range(1, self.depth + 1):
                x = pyro.sample(f"z{t}", self.above(t, x))

    def below(self, t: int, z: Tensor) -> TorchDistribution:
        """p(z_t | z_{t+1}), for t = 0 p(x | z_1), given the layer above, `z` (..., *shape of z_{t+1})."""
        return self._family(t)(flatten_batch(self.decoders[t], z, self.shapes[t + 1]), self.shapes[t])

    def above(self, t: int, z: Tensor) -> TorchDistribution:
        """q(z_t | z_{t-1}), for t = 1 q(z_1 | x), given the layer below, `z` (..., *shape of z_{t-1})."""
        return self.posterior(flatten_batch(self.encoders[t - 1], z, self.shapes[t - 1]), self.shapes[t])

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z_T | x) for `x` (..., *event_shape), the layers between at their means."""
        for t in range(1, self.depth):
            x = self.posterior.point(self.above(t, x))
        return self.above(self.depth, x)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the components start from the training data."""
        for component in (self.likelihood, self.posterior, self.prior):
            component.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or without a density."""
        check_event(self.name, "event_shape", data, self.shapes[0])
        self.likelihood.check(data["x"])

    def _each(self, what: str, networks: Sequence[nn.Module]) -> nn.ModuleList:
        """One network for each layer."""
        if len(networks) != self.depth:
            raise ValueError(f"{self.name} has {self.depth} layers of latents, got {len(networks)} {what}")
        return nn.ModuleList(networks)

    def _family(self, t: int) -> Family:
        return self.likelihood if t == 0 else self.conditional
