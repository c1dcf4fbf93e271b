"""Variational autoencoders of sequences, and the autoencoder that they are without noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrogen.distributions import (
    AutoregressiveDistribution,
    Categorical,
    DiagonalNormal,
    Family,
    Gaussian,
    Prior,
    StandardNormal,
    VampPrior,
)
from pyrogen.nn import (
    CausalNetwork,
    CausalRecurrent,
    CausalTransformer,
    SequenceEncoder,
    Shape,
    WordDropout,
    as_shape,
    batch_shape,
    elements,
    flatten,
    without_padding,
)
from pyrogen.story import Story, check_event, check_length

__all__ = ["SequenceAutoencoder", "SequenceVAE"]

Kind = Literal["recurrent", "transformer"]


class SequenceVAE(Story):
    """z ~ prior,  x_t | x_1, ..., x_{t-1}, z ~ likelihood(decoder),  guided by q(z | x) = posterior(encoder(x)).

    Data are series (places, features), images, read row by row, or text (places,): symbols by their number, int64.
    Sequences may end before the last place: a column `length` (n,), int64, then says after how many elements, and
    what stands behind is padding, which changes no figure. How long a sequence is, is no part of the story: every
    likelihood is that of x given its length. z is told to every step of the decoder. As each element is told those
    before it, a decoder that is rich enough does without z, and the posterior collapses: `keep` < 1 makes it need z, by
    hiding elements from it in training.

    Args:
        event_shape: (places, features) of series, (channels, height, width) of images, (places,) of text.
        latent: number of latents, or their shape.
        symbols: how many there are in a text; 0: series.
        likelihood: family of an element p(x_t | x_<t, z); None: `Gaussian()` for series, `Categorical(symbols)` for text.
        prior: p(z); None: standard normal.
        posterior: family of q(z | x).
        network: "recurrent" or "transformer", encoder and decoder.
        width: of their states.
        layers: of their states.
        keep: part of the elements that the decoder is told in training, a learned token standing in for the others;
            0: of none, nor afterwards, so that elements are independent given z.

    Raises:
        ValueError: symbols for series, or none for text, or a likelihood or a prior that is for the other; `keep` is no
            part; by `check`, x has another event shape or no density, or a length is none.

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
        if not 0 <= keep <= 1:
            raise ValueError(f"{self.name} needs 0 <= keep <= 1, got keep={keep!r}")
        usual: Family = Categorical(symbols) if symbols else Gaussian()
        self.likelihood = usual if likelihood is None else likelihood
        _check_kind(self.name, event, symbols, self.likelihood, prior)
        self.unit: tuple[int, ...] = () if symbols else event[-1:]
        self.places = math.prod(event) // math.prod(self.unit)
        self.keep, self.posterior = keep, posterior
        self.prior = StandardNormal(z) if prior is None else prior
        self.prior.check(z, posterior)
        features = 0 if symbols else event[-1]
        self.encoder = SequenceEncoder(math.prod(posterior.size(z)), symbols, features, network, width, layers)
        self.decoder = self._decoder(network, symbols, features, width, layers)

    def _decoder(self, network: Kind, symbols: int, features: int, width: int, layers: int) -> CausalNetwork:
        outputs, context = math.prod(self.likelihood.size(self.unit)), math.prod(self.latent_shape)
        decoder: CausalNetwork
        if network == "transformer":
            decoder = CausalTransformer(self.places, symbols, features, outputs, width, layers=layers, context=context)
        else:
            decoder = CausalRecurrent(symbols, features, outputs, width, layers, context)
        if self.keep < 1:
            decoder.add_module("first", WordDropout(decoder.first, width, self.keep))
        return decoder

    def model(self, x: Tensor | None, n: int, length: Tensor | None = None) -> Tensor:
        """p(z) prod_t p(x_t | x_<t, z)."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self._prior())
            return pyro.sample("x", self.decode(z, length), obs=None if x is None else self._unpadded(x, length))

    def guide(self, x: Tensor, n: int, length: Tensor | None = None) -> None:
        """q(z | x)."""
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self._posterior(x, length))

    def _prior(self) -> dist.TorchDistribution:
        return self.prior(self._encoded)

    def _posterior(self, x: Tensor, length: Tensor | None) -> dist.TorchDistribution:
        return self._encoded(x, length)

    def encode(self, x: Tensor, length: Tensor | None = None) -> dist.TorchDistribution:
        """q(z | x) for `x` (..., *event_shape) of `length` (...)."""
        return self._encoded(x, self._checked(length, batch_shape(x, self.event_shape, self.name)))

    def _encoded(self, x: Tensor, length: Tensor | None = None) -> dist.TorchDistribution:
        lead = batch_shape(x, self.event_shape, self.name)
        outputs = self.encoder(x.reshape(*lead, self.places, *self.unit), length)
        return self.posterior(outputs.reshape(*lead, *self.posterior.size(self.latent_shape)), self.latent_shape)

    def decode(self, z: Tensor, length: Tensor | None = None) -> AutoregressiveDistribution:
        """p(x | z) for `z` (..., *latent_shape) and x of `length` (...)."""
        return AutoregressiveDistribution(
            self.decoder,
            self.likelihood,
            self.event_shape,
            unit=self.unit,
            context=flatten(z, self.latent_shape, self.name),
            length=length,
        )

    def reconstruct(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """A draw of p(x | z), whose mean cannot be written down, at the mean z of q(z | x): (..., *event_shape)."""
        with self.predicting():
            length = length if length is None else torch.as_tensor(length, device=self.device)
            return self.decode(self.posterior.point(self.encode(x.to(self.device), length)), length).point()

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new data of the lengths `length`: one for each, or one for all; left out, of all places."""
        if given.get("length") is not None:
            given["length"] = self._checked(torch.as_tensor(given["length"]), (n,))
        return super().sample(n, **given)

    def _checked(self, length: Tensor | None, lead: tuple[int, ...]) -> Tensor | None:
        """The lengths of rows `lead`, one for each or one for all."""
        if length is None:
            return None
        if tuple(length.shape) not in ((), lead):
            expected = f"one for each of the rows {lead}, or one for all"
            raise ValueError(f"{self.name} takes lengths, {expected}, got {tuple(length.shape)} of them")
        if length.numel():
            check_length(self.name, {"length": length.reshape(-1)}, self.places)
        return length.expand(lead)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the components start from the training data."""
        x, length = data["x"], data.get("length")
        self.likelihood.prepare(elements(self._in_places(x), length))
        for component in (self.posterior, self.prior):
            component.prepare(self._unpadded(x, length))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or without a density, and lengths that are none."""
        check_event(self.name, "event_shape", data, self.event_shape)
        check_length(self.name, data, self.places)
        self.likelihood.check(elements(self._in_places(data["x"]), data.get("length")))

    def _in_places(self, x: Tensor) -> Tensor:
        """The sequences (n, places, *unit) of `x` (n, *event_shape)."""
        return x.reshape(len(x), self.places, *self.unit)

    def _unpadded(self, x: Tensor, length: Tensor | None) -> Tensor:
        """`x` (n, *event_shape) with 0 for padding, which need be no value that an element can have."""
        return without_padding(self._in_places(x), length).reshape(x.shape)


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

    unsupported = {
        "density": "no prior says how likely a code is",
        "sample": "without a prior over codes, an autoencoder defines no distribution over x",
    }

    def _prior(self) -> dist.TorchDistribution:
        return super()._prior().mask(False)  # scores 0 wherever it is

    def _posterior(self, x: Tensor, length: Tensor | None) -> dist.TorchDistribution:
        return dist.Delta(self.posterior.point(self._encoded(x, length)), event_dim=len(self.latent_shape))


def _check_kind(who: str, event: tuple[int, ...], symbols: int, likelihood: Family, prior: Prior | None) -> None:
    """Refuse symbols for series or none for text, and a likelihood or a prior that is for the other."""
    if (len(event) == 1) != bool(symbols):
        raise ValueError(
            f"{who} is for series (places, features), or text (places,) of so many symbols; got event_shape={event} "
            f"and symbols={symbols}: reshape x to (n, places, features), or set symbols"
        )
    if likelihood.integer != bool(symbols) or getattr(likelihood, "count", symbols) != symbols:
        expected = f"Categorical({symbols})" if symbols else "one of numbers, as series have no symbols"
        raise ValueError(f"{who} of symbols={symbols} takes as likelihood {expected}; got {likelihood}: leave it out")
    if symbols and isinstance(prior, VampPrior):
        raise ValueError(
            f"{who}: VampPrior learns pseudo-inputs by their gradient, and symbols have none: take NormalMixture"
        )
