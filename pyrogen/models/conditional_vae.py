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
from pyrogen.nn import Dense, Label, Shape, as_shape, flatten, flatten_batch
from pyrogen.story import Labelled, check_event

__all__ = ["ConditionalVAE"]


class ConditionalVAE(Labelled):
    """z ~ prior,  x | y, z ~ likelihood(decoder(z, y)),  guided by q(z | x, y) = posterior(encoder(x, y)).

    log p(x | y) >= E_q [log p(x | y, z)] - KL(q(z | x, y) || p(z)), in nats per datum. How likely each y is, is no part
    of the story: every likelihood of it, that of `evaluate` too, is log p(x | y). As z is drawn apart from y, what is
    left to it is what y does not tell of x, such as the style of a digit.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        latent: number of latents, or their shape.
        classes: y is one of so many classes, int64 (n,).
        condition: in place of `classes`: y is a vector of so many numbers, or of that shape, float (n, *condition).
        likelihood: family of p(x | y, z).
        prior: p(z); None: standard normal.
        posterior: family of q(z | x, y).
        encoder: (batch, D + C) -> (batch, *posterior.size(latent shape)), for D numbers of a datum and, behind them, C
            of the label (one for each class, 0 or 1; or y's own); None: dense.
        decoder: (batch, latents + C) -> (batch, *likelihood.size(event_shape)); None: dense.
        hidden: widths of the dense encoder; backwards, those of the dense decoder.

    Raises:
        ValueError: both or neither of `classes` and `condition`; the prior is for other latents; by `check`, x or y has
            another shape, x no density, or y a label that is none of the classes.

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
        told, hidden = self.label.size, tuple(hidden)
        self.encoder = Dense(math.prod(x) + told, posterior.size(z), hidden) if encoder is None else encoder
        self.decoder = Dense(math.prod(z) + told, likelihood.size(x), hidden[::-1]) if decoder is None else decoder

    def model(self, x: Tensor | None, y: Tensor, n: int) -> Tensor:
        """p(z) p(x | y, z)."""
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior(self._encode_alone))
            return pyro.sample("x", self.decode(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor, n: int) -> None:
        """q(z | x, y)."""
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x, y))

    def encode(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | x, y) for `x` (..., *event_shape) and labels `y` (...)."""
        return self.posterior(self._told(self.encoder, x, self.event_shape, y), self.latent_shape)

    def decode(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z) for `z` (..., *latent_shape) and labels `y` (...)."""
        return self.likelihood(self._told(self.decoder, z, self.latent_shape, y), self.event_shape)

    def transfer(self, x: Tensor, y: Any, to: Any) -> Tensor:
        """Each `x` (n, *event_shape) of label `y` as it would be with the label `to`: same z, another label.

        The mean of p(x | to, z) at the mean z of q(z | x, y), (n, *event_shape). Labels: one for each, or one for all.
        """
        y, to = (self.label.checked(self.name, label, len(x)).to(self.device) for label in (y, to))
        with self.predicting():
            z = self.posterior.point(self.encode(x.to(self.device), y))
            return self.likelihood.point(self.decode(z, to))

    def reconstruct(self, x: Tensor, y: Any) -> Tensor:
        """The mean of p(x | y, z) at the mean z of q(z | x, y), (n, *event_shape)."""
        return self.transfer(x, y, y)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Let the components start from the training data."""
        for component in (self.likelihood, self.posterior, self.prior):
            component.prepare(data["x"])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape or without a density, and a y that is no label."""
        check_event(self.name, "event_shape", data, self.event_shape)
        self.likelihood.check(data["x"])
        super().check(data)

    def _told(self, network: nn.Module, x: Tensor, shape: tuple[int, ...], y: Tensor) -> Tensor:
        """The network's outputs for `x` (..., *shape), flattened, with the label's numbers behind it."""
        flat, label = flatten(x, shape, self.name), self.label(y)
        lead = torch.broadcast_shapes(flat.shape[:-1], label.shape[:-1])
        beside = torch.cat([flat.expand(*lead, -1), label.expand(*lead, -1)], -1)
        return flatten_batch(network, beside, (beside.shape[-1],))

    def _encode_alone(self, x: Tensor) -> TorchDistribution:
        raise ValueError(f"{self.name}: a prior that is built of the encoder lacks the labels that it needs as well")
