"""Variational autoencoders of sequences, and the autoencoder that they are without noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrogen.distributions import (
    AutoregressiveDistribution,
    DiagonalNormal,
    Family,
    Gaussian,
    Prior,
    StandardNormal,
    Symbols,
)
from pyrogen.nn import CausalNetwork, CausalRecurrent, CausalTransformer, SequenceEncoder, Shape, as_shape, flatten
from pyrogen.story import Story, check_event, check_length

__all__ = ["SequenceAutoencoder", "SequenceVAE"]

Kind = Literal["recurrent", "transformer"]


class SequenceVAE(Story):
    """z ~ prior,  x_t | x_1, ..., x_{t-1}, z ~ likelihood(decoder),  guided by q(z | x) = posterior(encoder(x)).

    Data are series (places, features), images, read row by row, or text (places,): symbols by their number, int64.
    Sequences may end before the last place: a column `length` (n,), int64, then says after how many elements, and
    what stands behind is padding, which changes no figure. z is told to every step of the decoder. As each element is
    told those before it, a decoder that is rich enough does without z, and the posterior collapses: `keep` < 1 makes
    it need z, by hiding elements from it in training.

    Args:
        event_shape: (places, features) of series, (channels, height, width) of images, (places,) of text.
        latent: number of latents, or their shape.
        symbols: how many there are in a text; 0: series.
        likelihood: family of an element p(x_t | x_<t, z); None: `Gaussian()` for series, `Symbols(symbols)` for text.
        prior: p(z); None: standard normal.
        posterior: family of q(z | x).
        network: "recurrent" or "transformer", encoder and decoder.
        width: of their states.
        layers: of their states.
        keep: part of the elements that the decoder is told in training; 0 in place of the others.

    Raises:
        ValueError: symbols for series, or none for text; `keep` is no part; by `check`, x has another event shape or
            no density, or a length is none.

    Example:
        >>> story = SequenceVAE((6, 2), latent=3, width=8)
        >>> story.sample(5, length=torch.tensor([6, 5, 4, 3, 2])).shape
        torch.Size([5, 6, 2])

    References:
        Bowman et al. 2016, arXiv:1511.06349; Fabius, van Amersfoort 2014, arXiv:1412.6581.
    """

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        symbols: int = 0,
        *,
        likelihood: Family | None = None,
        prior: Prior | None = None,
        posterior: Family = DiagonalNormal(),  # noqa: B008 (frozen)
        network: Kind = "recurrent",
        width: int = 64,
        layers: int = 1,
        keep: float = 1.0,
    ) -> None:
        super().__init__()
        self.event_shape, self.latent_shape = event, z = as_shape(event_shape), as_shape(latent)
        if (len(event) == 1) != bool(symbols):
            raise ValueError(
                f"{self._name} is for series (places, features), or text (places,) of so many symbols; got "
                f"event_shape={event} and symbols={symbols}: reshape x to (n, places, features), or set symbols"
            )
        if not 0 <= keep <= 1:
            raise ValueError(f"{self._name} needs 0 <= keep <= 1, got keep={keep!r}")
        self.unit: tuple[int, ...] = () if symbols else event[-1:]
        self.places = math.prod(event) // math.prod(self.unit)
        self.keep, self.posterior = keep, posterior
        usual: Family = Symbols(symbols) if symbols else Gaussian()
        self.likelihood = usual if likelihood is None else likelihood
        self.prior = StandardNormal(z) if prior is None else prior
        self.prior.check(z, posterior)
        features = 0 if symbols else event[-1]
        self.encoder = SequenceEncoder(math.prod(posterior.size(z)), symbols, features, network, width, layers)
        self.decoder = self._decoder(network, symbols, features, width, layers)

    def _decoder(self, network: Kind, symbols: int, features: int, width: int, layers: int) -> CausalNetwork:
        outputs, context = math.prod(self.likelihood.size(self.unit)), math.prod(self.latent_shape)
        if network == "transformer":
            return CausalTransformer(self.places, symbols, features, outputs, width, layers=layers, context=context)
        return CausalRecurrent(symbols, features, outputs, width, layers, context)

    def model(self, x: Tensor | None, n: int, length: Tensor | None = None) -> Tensor:
        """p(z) prod_t p(x_t | x_<t, z)."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self._prior())
            return pyro.sample("x", self.decode(z, length), obs=x)

    def guide(self, x: Tensor, n: int, length: Tensor | None = None) -> None:
        """q(z | x)."""
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self._posterior(x, length))

    def _prior(self) -> dist.TorchDistribution:
        return self.prior(self.encode)

    def _posterior(self, x: Tensor, length: Tensor | None) -> dist.TorchDistribution:
        return self.encode(x, length)

    def encode(self, x: Tensor, length: Tensor | None = None) -> dist.TorchDistribution:
        """q(z | x) for `x` (n, *event_shape)."""
        outputs = self.encoder(x.reshape(len(x), self.places, *self.unit), length)
        outputs = outputs.reshape(len(x), *self.posterior.size(self.latent_shape))
        return self.posterior(outputs, self.latent_shape)

    def decode(self, z: Tensor, length: Tensor | None = None) -> AutoregressiveDistribution:
        """p(x | z) for `z` (..., *latent_shape)."""
        return AutoregressiveDistribution(
            _Hiding(self.decoder, self.keep) if self.training and self.keep < 1 else self.decoder,
            self.likelihood,
            self.event_shape,
            unit=self.unit,
            context=flatten(z, self.latent_shape, self._name),
            length=length,
        )

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the components start from the training data."""
        self.likelihood.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or without a density, and lengths that are none."""
        check_event(self._name, "event_shape", data, self.event_shape)
        self.likelihood.check(data["x"])
        check_length(self._name, data, self.places)


class SequenceAutoencoder(SequenceVAE):
    """`SequenceVAE` without noise: z = encoder(x), a point, and no prior; x_t | x_<t, z as there.

    Args:
        event_shape, latent, symbols, likelihood, network, width, layers, keep: as `SequenceVAE`'s.

    Example:
        >>> SequenceAutoencoder((6, 2), latent=3, width=8).encode(torch.zeros(5, 6, 2)).event_shape
        torch.Size([3])

    References:
        Sutskever, Vinyals, Le 2014, arXiv:1409.3215; Dai, Le 2015, arXiv:1511.01432.
    """

    without = {
        "density": "no prior says how likely a code is",
        "sample": "without a prior over codes, an autoencoder defines no distribution over x",
    }

    def _prior(self) -> dist.TorchDistribution:
        return super()._prior().mask(False)  # scores 0 wherever it is

    def _posterior(self, x: Tensor, length: Tensor | None) -> dist.TorchDistribution:
        return dist.Delta(self.posterior.point(self.encode(x, length)), event_dim=len(self.latent_shape))


class _Hiding:
    """A decoder that is told part of the elements alone (Bowman et al. 2016, arXiv:1511.06349, word dropout)."""

    def __init__(self, decoder: CausalNetwork, keep: float) -> None:
        self.decoder, self.keep = decoder, keep

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        x = x if self.decoder.symbols else x.reshape(len(x), -1, self.decoder.features)
        shown = torch.rand(x.shape[:2], device=x.device) < self.keep
        told: Tensor = self.decoder(x * shown.reshape(*shown.shape, *[1] * (x.dim() - 2)).to(x.dtype), context)
        return told
