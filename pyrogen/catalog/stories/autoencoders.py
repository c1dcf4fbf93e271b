"""Autoencoders, variational and not, with their settings for digits; those for MNIST are said with each."""

from __future__ import annotations

from typing import Any, Literal

from pyrogen import models, nn
from pyrogen.catalog import examples
from pyrogen.catalog.components import (
    Likelihood,
    Network,
    Networks,
    Posterior,
    PriorName,
    Sizes,
    likelihood_of,
    posterior_of,
    prior_of,
)
from pyrogen.catalog.entry import Entry, chosen, sizes
from pyrogen.story import Story

__all__ = ["ENTRIES"]


def _vae(
    event_shape: tuple[int, ...],
    levels: int | None = None,
    latent: int = 16,
    likelihood: Likelihood = "bernoulli",
    network: Network = "dense",
    hidden: Sizes = (400,),
    channels: Sizes = (32, 64),
    width: int = 64,
    posterior: Posterior = "diagonal",
    prior: PriorName = "normal",
    components: int = 50,
) -> Story:
    """MNIST: --epochs 300 --set latent=40 (and prior=vamp components=500; or network=conv; or likelihood=pixelcnn)."""
    family, guide = likelihood_of(likelihood, event_shape, levels), posterior_of(posterior, latent)
    networks = Networks(network, hidden, channels, width)
    return models.VAE(
        event_shape,
        latent,
        likelihood=family,
        prior=prior_of(prior, latent, event_shape, components),
        posterior=guide,
        encoder=networks.encoder(event_shape, guide.size((latent,))),
        decoder=networks.decoder((latent,), family.size(event_shape)),
    )


def _hierarchical_vae(
    event_shape: tuple[int, ...],
    levels: int | None = None,
    latents: Sizes = (32, 16),
    likelihood: Likelihood = "bernoulli",
    guide: Literal["ladder", "bottom-up"] = "ladder",
    hidden: Sizes = (200,),
) -> Story:
    """MNIST: --epochs 200 --objective elbo --set guide=bottom-up --set latents=[100,50,25] --set hidden=[200,200]."""
    story = chosen("guide", guide, {"ladder": models.LadderVAE, "bottom-up": models.HierarchicalVAE})
    family = likelihood_of(likelihood, event_shape, levels)
    return story(event_shape, sizes("latents", latents), likelihood=family, hidden=sizes("hidden", hidden))


def _autoencoder(
    event_shape: tuple[int, ...],
    latent: int = 16,
    network: Network = "dense",
    hidden: Sizes = (400,),
    channels: Sizes = (32, 64),
    width: int = 64,
    masking: float = 0.0,
    noise: float = 0.0,
    contractive: float = 0.0,
    sparse: float = 0.0,
) -> Story:
    """MNIST: --epochs 100 --set latent=32 (and masking=0.3, or noise=0.3; or network=conv)."""
    if masking and noise:
        raise ValueError(f"masking and noise are two ways to corrupt x: set one, got {masking} and {noise}")
    networks = Networks(network, hidden, channels, width)
    corruption = nn.MaskingNoise(masking) if masking else nn.GaussianNoise(noise) if noise else None
    return models.Autoencoder(
        event_shape,
        latent,
        encoder=networks.encoder(event_shape, (latent,)),
        decoder=networks.decoder((latent,), event_shape),
        corruption=corruption,
        contractive=contractive,
        sparse=sparse,
    )


def _vq_vae(
    event_shape: tuple[int, ...],
    levels: int | None = None,
    codes: int = 16,
    features: int = 16,
    likelihood: Likelihood = "bernoulli",
    network: Literal["dense", "conv"] = "dense",
    grid: Sizes = 2,
    channels: Sizes = (32, 64),
    hidden: Sizes = (400,),
    prior: Literal["transformer", "pixelcnn", "uniform"] = "transformer",
    commitment: float = 0.25,
) -> Story:
    """MNIST: --epochs 150 --set grid=16 --set codes=64 (network=conv: on the grid of the convolutions; codes cost)."""
    family, widths = likelihood_of(likelihood, event_shape, levels), sizes("channels", channels)
    places: tuple[int, ...]
    parts: dict[str, Any]
    if chosen("network", network, {"conv": True, "dense": False}):
        encoder = nn.GridEncoder(event_shape, features, widths)
        decoder = nn.GridDecoder(features, family.size(event_shape), widths[::-1])
        places, parts = encoder.grid, {"encoder": encoder, "decoder": decoder}
    else:
        places, parts = sizes("grid", grid), {"hidden": sizes("hidden", hidden) if hidden else ()}
    told: Any = {"likelihood": family, "prior": prior, "commitment": commitment}
    return models.VQVAE(event_shape, places, codes, features, **told, **parts)


def _tiny_autoencoder() -> Story:
    return models.Autoencoder(6, 2, hidden=(16,), corruption=nn.MaskingNoise(0.2), contractive=0.1, sparse=0.1)


ENTRIES = (
    Entry(
        "autoencoder",
        "deterministic codes by squared error; plain, denoising, contractive or sparse; hidden=[] is linear",
        _autoencoder,
        {"epochs": 60, "lr": 1e-3},
        lambda: (_tiny_autoencoder(), {"x": examples.points()}),
    ),
    Entry(
        "vae",
        "variational autoencoder: likelihood (pixelcnn: PixelVAE), posterior, prior and network of your choice",
        _vae,
        {"epochs": 60, "lr": 1e-3},
        lambda: (models.VAE((1, 4, 4), latent=2, hidden=(16,)), {"x": examples.images()}),
    ),
    Entry(
        "hierarchical_vae",
        "a chain of latent layers, guided from the bottom up or, as a ladder, from the top down",
        _hierarchical_vae,
        {"epochs": 150, "lr": 1e-3, "objective": "warmup=20"},
        lambda: (models.LadderVAE((1, 4, 4), (3, 2), hidden=(16,), features=8), {"x": examples.images()}),
    ),
    Entry(
        "vq_vae",
        "discrete codes by nearest neighbour, with a transformer, a PixelCNN or a uniform prior over them",
        _vq_vae,
        {"epochs": 100, "lr": 1e-3},
        lambda: (models.VQVAE((1, 4, 4), 2, codes=4, features=2, hidden=(16,)), {"x": examples.images()}),
    ),
)
