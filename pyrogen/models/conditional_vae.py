"""The conditional variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Bernoulli, DiagonalNormal, Family, Prior, StandardNormal
from pyrogen.models.event_story import EventStory
from pyrogen.nn import Dense, Label, Shape, as_shape, flatten, flatten_batch
from pyrogen.story import Labelled


class ConditionalVAE(Labelled, EventStory):
    """z ~ prior,  x | y, z ~ likelihood(decoder(z, y)),  guided by q(z | x, y) = posterior(encoder(x, y)).

    log p(x | y) >= E_q [log p(x | y, z)] - KL(q(z | x, y) || p(z)), in nats per datum. The story does not model
    y: every likelihood, that of `evaluate` too, is log p(x | y). As z is independent of y, it holds what y does not
    determine of x, such as the style of a digit.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latent: number of latents, or their shape.
        classes: number of classes of y, int64 (n,) from 0 to classes - 1.
        condition: in place of `classes`: length or shape of a vector y, float (n, *condition).
        likelihood: family of p(x | y, z); `Bernoulli()` by default.
        prior: p(z); `StandardNormal(latent)` by default.
        posterior: family of q(z | x, y); `DiagonalNormal()` by default.
        encoder: (batch, D + C) -> (batch, *posterior.size(latent shape)), of the D numbers of a datum followed by the C
            of the label (one-hot, or y itself); a dense network by default.
        decoder: (batch, latents + C) -> (batch, *likelihood.size(event_shape)); a dense network by default.
        hidden: widths of the dense encoder's hidden layers, reversed in the dense decoder; (400,) by default.

    Raises:
        ValueError: both or neither of `classes` and `condition` is given; or the prior is for latents of another shape.

    Example:
        >>> story = ConditionalVAE((1, 8, 8), latent=2, classes=10, hidden=(16,))
        >>> threes = story.sample(5, y=3)
        >>> story.transfer(threes, y=3, to=8).shape
        torch.Size([5, 1, 8, 8])

    References:
        Kingma, Rezende, Mohamed, Welling 2014, arXiv:1406.5298; Sohn, Lee, Yan 2015, "Learning structured output
        representation using deep conditional generative models", NeurIPS.
    """

    def __init__(
        self,
        event_shape: Shape,
        latent: Shape,
        classes: int | None = None,
        condition: Shape | None = None,
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
        self.label, self.classes = Label(classes, condition), classes
        self.likelihood, self.posterior = likelihood, posterior
        self.prior = StandardNormal(z) if prior is None else prior
        self.prior.check(z, posterior)
        c, hidden = self.label.size, tuple(hidden)
        self.encoder = Dense(math.prod(x) + c, posterior.size(z), hidden) if encoder is None else encoder
        self.decoder = Dense(math.prod(z) + c, likelihood.size(x), hidden[::-1]) if decoder is None else decoder

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:
        """p(z) p(x | y, z).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            y: labels, (n,) int64, or vectors (n, *condition).
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self._encode_without_label))
            return pyro.sample("x", self.decode(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """q(z | x, y).

        Args:
            x: data, (n, *event_shape).
            y: labels, (n,) int64, or vectors (n, *condition).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x, y))

    def encode(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | x, y).

        Args:
            x: data, (..., *event_shape).
            y: labels, (...) int64, or vectors (..., *condition).

        Returns:
            Batch shape (...), event shape `latent_shape`.
        """
        return self.posterior(self._conditioned(self.encoder, x, self.event_shape, y), self.latent_shape)

    def decode(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z).

        Args:
            z: latents, (..., *latent_shape).
            y: labels, (...) int64, or vectors (..., *condition).

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        return self.likelihood(self._conditioned(self.decoder, z, self.latent_shape, y), self.event_shape)

    def transfer(self, x: Tensor, y: Any, to: Any) -> Tensor:
        """Each datum with another label and the same z: the mean of p(x | to, z) at the mean z of q(z | x, y).

        Args:
            x: data, (n, *event_shape).
            y: their labels, one for each or one for all.
            to: the labels to give them, one for each or one for all.

        Returns:
            (n, *event_shape).
        """
        y, to = (self.label.checked(self.name, label, len(x)).to(self.device) for label in (y, to))
        with self.predicting():
            z = self.posterior.point(self.encode(x.to(self.device), y))
            return self.likelihood.point(self.decode(z, to))

    def reconstruct(self, x: Tensor, y: Any) -> Tensor:
        """The mean of p(x | y, z) at the mean z of q(z | x, y).

        Args:
            x: data, (n, *event_shape).
            y: their labels, one for each or one for all.

        Returns:
            (n, *event_shape).
        """
        return self.transfer(x, y, y)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Initialize likelihood, posterior and prior from the training data.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        for component in (self.likelihood, self.posterior, self.prior):
            component.prepare(data["x"])

    def _conditioned(self, network: nn.Module, x: Tensor, shape: tuple[int, ...], y: Tensor) -> Tensor:
        """The network's outputs for `x` (..., *shape), flattened and concatenated with the label's numbers."""
        flat, label = flatten(x, shape, self.name), self.label(y)
        batch = torch.broadcast_shapes(flat.shape[:-1], label.shape[:-1])
        inputs = torch.cat([flat.expand(*batch, -1), label.expand(*batch, -1)], -1)
        return flatten_batch(network, inputs, (inputs.shape[-1],))

    def _encode_without_label(self, x: Tensor) -> TorchDistribution:
        raise ValueError(f"{self.name}: prior uses the encoder, which here needs labels too: use NormalMixture")
