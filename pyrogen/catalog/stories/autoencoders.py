"""Autoencoders, variational and not. Defaults suit digits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pyrogen import models, nn
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import Networks, likelihood_of, posterior_of, prior_of
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import UsedIf
from pyrogen.nn import as_shape
from pyrogen.story import Story


def _vae(
    event_shape: tuple[int, ...],
    levels: types.Levels = None,
    latent: types.Size = 16,
    likelihood: types.Likelihood = "bernoulli",
    network: types.Network = "dense",
    hidden: types.Hidden = (400,),
    channels: types.Channels = (32, 64),
    width: types.Width = 64,
    posterior: types.Posterior = "diagonal",
    prior: types.Prior = "normal",
    components: types.Components = 50,
) -> Story:
    """variational autoencoder: likelihood (pixelcnn: PixelVAE), posterior, prior and network of your choice."""
    # For MNIST: --epochs 300 --set latent=40, with --set network=conv or likelihood=pixelcnn.
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
    levels: types.Levels = None,
    latents: types.Sizes = (32, 16),
    likelihood: types.Likelihood = "bernoulli",
    guide: Literal["ladder", "bottom-up"] = "ladder",
    hidden: types.Sizes = (200,),
) -> Story:
    """a chain of latent layers, guided from the bottom up or, as a ladder, from the top down."""
    # For MNIST: --epochs 200 --set latents=[100,50,25] --set hidden=[200,200].
    story = models.LadderVAE if guide == "ladder" else models.HierarchicalVAE
    family = likelihood_of(likelihood, event_shape, levels)
    return story(event_shape, as_shape(latents), likelihood=family, hidden=as_shape(hidden))


def _autoencoder(
    event_shape: tuple[int, ...],
    latent: types.Size = 16,
    network: types.Network = "dense",
    hidden: types.Hidden = (400,),
    channels: types.Channels = (32, 64),
    width: types.Width = 64,
    masking: types.Share = 0.0,
    noise: types.NonNegative = 0.0,
    contractive: types.NonNegative = 0.0,
    sparse: types.NonNegative = 0.0,
) -> Story:
    """deterministic codes by squared error; plain, denoising, contractive or sparse; hidden=[] is linear."""
    # For MNIST: --epochs 100 --set latent=32, with --set masking=0.3 or noise=0.3.
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
    levels: types.Levels = None,
    codes: types.Size = 16,
    features: types.Size = 16,
    likelihood: types.Likelihood = "bernoulli",
    network: Literal["dense", "conv"] = "dense",
    grid: Annotated[types.Sizes, UsedIf(network="dense")] = 2,
    channels: Annotated[types.Sizes, UsedIf(network="conv")] = (32, 64),
    hidden: Annotated[types.SizesOrNone, UsedIf(network="dense")] = (400,),
    prior: Literal["transformer", "pixelcnn", "uniform"] = "transformer",
    commitment: types.NonNegative = 0.25,
) -> Story:
    """discrete codes by nearest neighbour, with a transformer, a PixelCNN or a uniform prior over them."""
    # For MNIST: --epochs 150 --set grid=16 --set codes=64.
    family = likelihood_of(likelihood, event_shape, levels)
    places: tuple[int, ...]
    parts: dict[str, Any]
    if network == "conv":
        widths = as_shape(channels)
        encoder = nn.GridEncoder(event_shape, features, widths)
        decoder = nn.GridDecoder(features, family.size(event_shape), widths[::-1])
        places, parts = encoder.grid, {"encoder": encoder, "decoder": decoder}
    else:
        places, parts = as_shape(grid), {"hidden": as_shape(hidden)}
    return models.VQVAE(
        event_shape, places, codes, features, likelihood=family, prior=prior, commitment=commitment, **parts
    )


def _tiny_autoencoder() -> tuple[Story, examples.Columns]:
    story = models.Autoencoder(6, 2, hidden=(16,), corruption=nn.MaskingNoise(0.2), contractive=0.1, sparse=0.1)
    return story, examples.points()


ENTRIES = (
    Entry.of(_autoencoder, _tiny_autoencoder, epochs=60, lr=1e-3),
    Entry.of(_vae, lambda: (models.VAE((1, 4, 4), latent=2, hidden=(16,)), examples.images()), epochs=60, lr=1e-3),
    Entry.of(
        _hierarchical_vae,
        lambda: (models.LadderVAE((1, 4, 4), (3, 2), hidden=(16,), features=8), examples.images()),
        epochs=150,
        lr=1e-3,
        objective="warmup=20",
    ),
    Entry.of(
        _vq_vae,
        lambda: (models.VQVAE((1, 4, 4), 2, codes=4, features=2, hidden=(16,)), examples.images()),
        epochs=100,
        lr=1e-3,
    ),
)
