"""Variational autoencoders of sequences."""

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

Kind = Literal["recurrent", "transformer"]


class SequenceVAE(Story):
    """z ~ prior,  x_t | x_1, ..., x_{t-1}, z ~ likelihood(decoder),  guided by q(z | x) = posterior(encoder(x)).

    Data are series (max_length, features), images, read row by row, or text (max_length,) of symbol numbers, int64.
    Sequences may be shorter: a column `length` (n,), int64, then gives the number of elements, and the rest is padding,
    whose values have no effect. The story does not model the length: every likelihood is that of x given its length.
    z is an input of every step of the decoder. As the decoder also sees the elements before each one, a rich decoder
    can do without z, and the posterior collapses; word dropout, `word_keep_prob` < 1, prevents this by hiding elements
    from the decoder in training.

    Args:
        event_shape: (max_length, features) of series, (channels, height, width) of images, (max_length,) of text.
        latent: number of latents, or their shape.
        symbols: number of symbols of a text; 0, the default, for series.
        likelihood: family of an element p(x_t | x_<t, z); by default `Gaussian()` for series, `Categorical(symbols)`
            for text.
        prior: p(z); `StandardNormal(latent)` by default.
        posterior: family of q(z | x); `DiagonalNormal()` by default.
        network: kind of encoder and decoder: "recurrent", the default, or "transformer".
        width: length of their hidden states; 64 by default.
        layers: number of their layers; 1 by default.
        word_keep_prob: probability that the decoder sees an element in training, in place of a learned token; 1 by
            default. With 0 it sees none even after training, so that elements are independent given z.

    Raises:
        ValueError: symbols are set for series, or not for text; the likelihood or the prior does not suit them, or the
            prior is for latents of another shape; or `word_keep_prob` is not from 0 to 1.

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
        word_keep_prob: float = 1.0,
    ) -> None:
        super().__init__()
        self.event_shape, self.latent_shape = event, z = as_shape(event_shape), as_shape(latent)
        if not 0 <= word_keep_prob <= 1:
            raise ValueError(f"{self.name} needs a probability from 0 to 1, got word_keep_prob={word_keep_prob!r}")
        default: Family = Categorical(symbols) if symbols else Gaussian()
        self.likelihood = default if likelihood is None else likelihood
        _check_kind(self.name, event, symbols, self.likelihood, prior)
        self.unit: tuple[int, ...] = () if symbols else event[-1:]
        self.max_length = math.prod(event) // math.prod(self.unit)
        self.word_keep_prob, self.posterior = word_keep_prob, posterior
        self.prior = StandardNormal(z) if prior is None else prior
        self.prior.check(z, posterior)
        features = 0 if symbols else event[-1]
        self.encoder = SequenceEncoder(math.prod(posterior.size(z)), symbols, features, network, width, layers)
        self.decoder = self._decoder(network, symbols, features, width, layers)

    def _decoder(self, network: Kind, symbols: int, features: int, width: int, layers: int) -> CausalNetwork:
        options: Any = {"symbols": symbols, "features": features, "width": width, "layers": layers}
        options |= {"outputs": math.prod(self.likelihood.size(self.unit)), "context": math.prod(self.latent_shape)}
        transformer = network == "transformer"
        decoder = CausalTransformer(self.max_length, **options) if transformer else CausalRecurrent(**options)
        if self.word_keep_prob < 1:
            decoder.add_module("first", WordDropout(decoder.first, width, self.word_keep_prob))
        return decoder

    def model(self, x: Tensor | None, n: int, length: Tensor | None = None) -> Tensor:
        """p(z) prod_t p(x_t | x_<t, z).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.
            length: number of elements of each, (n,) int64; all `max_length` by default.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self._prior())
            return pyro.sample("x", self.decode(z, length), obs=None if x is None else self._zero_padded(x, length))

    def guide(self, x: Tensor, n: int, length: Tensor | None = None) -> None:
        """q(z | x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
            length: number of elements of each, (n,) int64; all `max_length` by default.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self._guide_distribution(x, length))

    def encode(self, x: Tensor, length: Tensor | None = None) -> dist.TorchDistribution:
        """q(z | x).

        Args:
            x: data, (..., *event_shape).
            length: number of elements of each, (...) int64, or one for all; all `max_length` by default.

        Returns:
            Batch shape (...), event shape `latent_shape`.
        """
        length = self._checked_length(length, batch_shape(x, self.event_shape, self.name))
        return self._guide_distribution(x, length)

    def _prior(self) -> dist.TorchDistribution:
        return self.prior(self._encoder_distribution)

    def _guide_distribution(self, x: Tensor, length: Tensor | None) -> dist.TorchDistribution:
        return self._encoder_distribution(x, length)

    def _encoder_distribution(self, x: Tensor, length: Tensor | None = None) -> dist.TorchDistribution:
        batch = batch_shape(x, self.event_shape, self.name)
        outputs = self.encoder(x.reshape(*batch, self.max_length, *self.unit), length)
        return self.posterior(outputs.reshape(*batch, *self.posterior.size(self.latent_shape)), self.latent_shape)

    def decode(self, z: Tensor, length: Tensor | None = None) -> AutoregressiveDistribution:
        """p(x | z).

        Args:
            z: latents, (..., *latent_shape).
            length: number of elements of each, (...) int64, or one for all; all `max_length` by default.

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        context = flatten(z, self.latent_shape, self.name)
        return AutoregressiveDistribution(
            self.decoder, self.likelihood, self.event_shape, unit=self.unit, context=context, length=length
        )

    def reconstruct(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """A draw of p(x | z), whose mean has no closed form, at the mean z of q(z | x).

        Args:
            x: data, (..., *event_shape).
            length: number of elements of each, (...) int64, or one for all; all `max_length` by default.

        Returns:
            (..., *event_shape).
        """
        with self.predicting():
            length = length if length is None else torch.as_tensor(length, device=self.device)
            length = self._checked_length(length, batch_shape(x, self.event_shape, self.name))
            z = self.posterior.point(self._encoder_distribution(x.to(self.device), length))
            return self.decode(z, length).point()

    def sample(self, n: int, **given: Any) -> Any:
        """Draw `n` new data of the lengths `length`.

        Args:
            n: number of data to draw, at least 1.
            **given: columns to condition on, above all `length`: (n,) int64, or one for all; `max_length` by default.

        Returns:
            (n, *event_shape), with 0 for padding.
        """
        if given.get("length") is not None:
            given["length"] = self._checked_length(torch.as_tensor(given["length"]), (n,))
        return super().sample(n, **given)

    def _checked_length(self, length: Tensor | None, batch: tuple[int, ...]) -> Tensor | None:
        """The lengths of rows of batch shape `batch`, from one for each or one for all."""
        if length is None:
            return None
        if tuple(length.shape) not in ((), batch):
            expected = f"one for each of the rows {batch}, or one for all"
            raise ValueError(f"{self.name} takes lengths, {expected}, got {tuple(length.shape)} of them")
        if length.numel():
            check_length(self.name, {"length": length.reshape(-1)}, self.max_length)
        return length.expand(batch)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize likelihood, posterior and prior from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape), and possibly `length`, (N,) int64.
        """
        x, length = data["x"], data.get("length")
        self.likelihood.prepare(elements(self._as_sequences(x), length))
        for component in (self.posterior, self.prior):
            component.prepare(self._zero_padded(x, length))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or without a density, and lengths outside 0 to `max_length`.

        Args:
            data: the columns by name: `x`, (n, *event_shape), and possibly `length`, (n,) int64.
        """
        check_event(self.name, "event_shape", data, self.event_shape, self.likelihood.integer)
        check_length(self.name, data, self.max_length)
        self.likelihood.check(elements(self._as_sequences(data["x"]), data.get("length")))

    def _as_sequences(self, x: Tensor) -> Tensor:
        """`x` (n, *event_shape) as sequences (n, max_length, *unit)."""
        return x.reshape(len(x), self.max_length, *self.unit)

    def _zero_padded(self, x: Tensor, length: Tensor | None) -> Tensor:
        """`x` (n, *event_shape) with 0 for padding, which may have values without a density."""
        return without_padding(self._as_sequences(x), length).reshape(x.shape)


def _check_kind(story: str, event: tuple[int, ...], symbols: int, likelihood: Family, prior: Prior | None) -> None:
    """Refuse symbols for series or none for text, and a likelihood or a prior that does not suit them."""
    if (len(event) == 1) != bool(symbols):
        raise ValueError(
            f"{story} is for series (max_length, features), or text (max_length,) with symbols set; got "
            f"event_shape={event} and symbols={symbols}: reshape x to (n, max_length, features), or set symbols"
        )
    if likelihood.integer != bool(symbols) or getattr(likelihood, "count", symbols) != symbols:
        expected = f"Categorical({symbols})" if symbols else "a family of numbers, as series have no symbols"
        raise ValueError(f"{story} of symbols={symbols} takes as likelihood {expected}, got {likelihood}: leave it out")
    if symbols and isinstance(prior, VampPrior):
        raise ValueError(
            f"{story}: VampPrior learns pseudo-inputs by gradients, which symbols do not have: use NormalMixture"
        )
