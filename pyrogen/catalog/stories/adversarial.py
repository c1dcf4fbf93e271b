"""Adversarial stories: GANs of data, of data given labels, and beside a VAE. Defaults suit points and digits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pyrogen import adversarial, nn
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import Networks, posterior_of
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import Auto, UsedIf
from pyrogen.nn import as_shape
from pyrogen.story import Story

Kind = Literal["dense", "conv", "resnet"]


Network = Annotated[Kind | None, Auto(lambda event_shape: "conv" if len(event_shape) == 3 else "dense")]
Hidden = Annotated[types.Sizes | None, Auto(lambda network: (128, 128) if network == "dense" else (128,))]
"""Of the dense layers: all of them, or those next to the latents, before or behind the convolutions."""


def _generator_and_critic(
    network: Kind | None,
    event_shape: tuple[int, ...],
    inputs: int,
    hidden: Any,
    channels: types.Sizes,
    spectral: bool,
    labels: int = 0,
) -> dict[str, Any]:
    """The two networks: convolutional ones have a residual block at each size where `network` is `resnet`."""
    widths, maps, blocks = as_shape(hidden), () if network == "dense" else as_shape(channels), int(network == "resnet")
    return {
        "generator": nn.Generator(inputs, event_shape, widths, maps[::-1], blocks),
        "critic": nn.Critic(event_shape, widths[::-1], maps, blocks, labels, spectral),
    }


def _gan(
    event_shape: tuple[int, ...],
    latent: types.Size = 16,
    network: Network = None,
    hidden: Hidden = None,
    channels: types.Channels = (32, 64),
    spectral: bool = False,
) -> Story:
    """generative adversarial network, for points and images; convolutional for images by default."""
    # For MNIST: --epochs 15 --objective r1=1 --set latent=64.
    networks = _generator_and_critic(network, event_shape, latent, hidden, channels, spectral)
    return adversarial.GAN(event_shape, latent, **networks)


def _conditional_gan(
    event_shape: tuple[int, ...],
    classes: Annotated[types.Size | None, UsedIf(condition=None)] = None,
    latent: types.Size = 16,
    condition: types.Sizes | None = None,
    network: Network = None,
    hidden: Hidden = None,
    channels: types.Channels = (32, 64),
    spectral: bool = False,
) -> Story:
    """a GAN of data given labels, its critic a projection critic; condition=[3]: y is a vector."""
    # For MNIST: --epochs 15 --objective r1=0.05 --set latent=64.
    y = (classes, None) if condition is None else (None, as_shape(condition))
    labels = nn.Label(*y).size
    networks = _generator_and_critic(network, event_shape, latent + labels, hidden, channels, spectral, labels)
    return adversarial.ConditionalGAN(event_shape, latent, *y, **networks)


def _vae_gan(
    event_shape: tuple[int, ...],
    latent: types.Size = 16,
    weight: types.Positive = 10000.0,
    posterior: types.Posterior = "diagonal",
    network: Network = None,
    hidden: Hidden = None,
    channels: types.Channels = (32, 64),
    spectral: bool = False,
) -> Story:
    """a VAE whose errors are measured in the features of a critic that it is trained against."""
    # For MNIST: --epochs 15 --objective r1=0.05 --set latent=32.
    family = posterior_of(posterior, latent)
    networks = _generator_and_critic(network, event_shape, latent, hidden, channels, spectral)
    networks["encoder"] = Networks(network or "dense", hidden or (), channels).encoder(
        event_shape, family.size((latent,))
    )
    return adversarial.VAEGAN(event_shape, latent, weight=weight, posterior=family, **networks)


_SMALL: dict[str, Any] = {"latent": 2, "hidden": (16,)}
_TRAINING = {"epochs": 300, "lr": adversarial.RATE, "adam": {"betas": adversarial.BETAS}, "ema": adversarial.EMA}

ENTRIES = (
    Entry.of(_gan, lambda: (adversarial.GAN(6, **_SMALL), examples.points()), **_TRAINING),
    Entry.of(
        _conditional_gan,
        lambda: (adversarial.ConditionalGAN(6, classes=2, **_SMALL), examples.labelled_points()),
        **_TRAINING,
    ),
    Entry.of(_vae_gan, lambda: (adversarial.VAEGAN(6, **_SMALL), examples.points()), **_TRAINING),
)
