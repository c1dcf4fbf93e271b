"""Autoencoders, variational and not."""

from __future__ import annotations

from pyrogen import distributions, models, nn
from pyrogen.catalog import tiny
from pyrogen.catalog.entry import Entry, chosen, sizes
from pyrogen.story import Story

__all__ = ["ENTRIES"]

_LIKELIHOODS = {"bernoulli": distributions.Bernoulli, "gaussian": distributions.Gaussian}


def _vae(
    event_shape: tuple[int, ...],
    latent: int = 16,
    likelihood: str = "bernoulli",
    network: str = "dense",
    hidden: tuple[int, ...] = (400,),
    channels: tuple[int, ...] = (32, 64),
) -> Story:
    family = chosen("likelihood", likelihood, _LIKELIHOODS)()
    posterior = distributions.DiagonalNormal()
    hidden, channels = sizes("hidden", hidden), sizes("channels", channels)
    if chosen("network", network, {"dense": False, "conv": True}):
        encoder = nn.ConvEncoder(event_shape, posterior.size((latent,)), channels)
        decoder = nn.ConvDecoder((latent,), family.size(event_shape), channels[::-1])
        return models.VAE(event_shape, latent, likelihood=family, posterior=posterior, encoder=encoder, decoder=decoder)
    return models.VAE(event_shape, latent, likelihood=family, posterior=posterior, hidden=hidden)


ENTRIES = (
    Entry(
        "vae",
        "variational autoencoder, dense or convolutional, Bernoulli or Gaussian likelihood",
        _vae,
        {"epochs": 60, "lr": 1e-3},
        lambda: (models.VAE((1, 4, 4), latent=2, hidden=(16,)), {"x": tiny.images()}),
    ),
)
