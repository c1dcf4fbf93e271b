"""Adversarial stories, with their settings for points and digits; those for MNIST are said with each."""

from __future__ import annotations

from typing import Any, Literal

from pyrogen import adversarial, nn
from pyrogen.catalog import examples
from pyrogen.catalog.components import Networks, Posterior, Sizes, posterior_of
from pyrogen.catalog.entry import Entry, chosen, sizes
from pyrogen.story import Story

__all__ = ["ENTRIES"]

Kind = Literal["dense", "conv", "resnet"]


class AdversarialNetworks:
    """Generator and critic of one kind, which `network` names; None: convolutional for images, else dense.

    Args:
        kind: `dense`, `conv` or `resnet` (convolutional, a residual block at each size).
        event_shape: of a datum.
        hidden: widths of the dense layers from the latents on, before the generator's convolutions; backwards, behind
            the critic's.
        channels: of convolutions from the data on.
        spectral: of the critic.
    """

    def __init__(
        self, kind: Kind | None, event_shape: tuple[int, ...], hidden: Sizes | None, channels: Sizes, spectral: bool
    ) -> None:
        self.kind: Kind = kind or ("conv" if len(event_shape) == 3 else "dense")
        self.blocks = chosen("network", self.kind, {"dense": None, "conv": 0, "resnet": 1})
        self.event_shape, self.spectral = event_shape, spectral
        self.channels = () if self.kind == "dense" else sizes("channels", channels)
        widths: Sizes = (128, 128) if self.kind == "dense" else (128,)
        self.hidden = sizes("hidden", widths if hidden is None else hidden)

    def players(self, told: int, labels: int = 0) -> dict[str, Any]:
        """The networks: a generator of so many numbers, and a critic that knows so many labels."""
        event, blocks = self.event_shape, self.blocks or 0
        return {
            "generator": nn.Generator(told, event, self.hidden, self.channels[::-1], blocks),
            "critic": nn.Critic(event, self.hidden[::-1], self.channels, blocks, labels, self.spectral),
        }


def _gan(
    event_shape: tuple[int, ...],
    latent: int = 16,
    network: Kind | None = None,
    hidden: Sizes | None = None,
    channels: Sizes = (32, 64),
    spectral: bool = False,
) -> Story:
    """MNIST: --epochs 15 --objective r1=1 --set latent=64."""
    pair = AdversarialNetworks(network, event_shape, hidden, channels, spectral)
    return adversarial.GAN(event_shape, latent, **pair.players(latent))


def _conditional_gan(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    latent: int = 16,
    condition: Sizes | None = None,
    network: Kind | None = None,
    hidden: Sizes | None = None,
    channels: Sizes = (32, 64),
    spectral: bool = False,
) -> Story:
    """MNIST: --epochs 15 --objective r1=0.05 --set latent=64."""
    y = (classes, None) if condition is None else (None, sizes("condition", condition))
    labels = nn.Label(*y).size
    pair = AdversarialNetworks(network, event_shape, hidden, channels, spectral)
    return adversarial.ConditionalGAN(event_shape, latent, *y, **pair.players(latent + labels, labels))


def _vae_gan(
    event_shape: tuple[int, ...],
    latent: int = 16,
    weight: float = 10000.0,
    posterior: Posterior = "diagonal",
    network: Kind | None = None,
    hidden: Sizes | None = None,
    channels: Sizes = (32, 64),
    spectral: bool = False,
) -> Story:
    """MNIST: --epochs 15 --objective r1=0.05 --set latent=32."""
    guide, pair = posterior_of(posterior, latent), AdversarialNetworks(network, event_shape, hidden, channels, spectral)
    encoder = Networks(pair.kind, pair.hidden, channels).encoder(event_shape, guide.size((latent,)))
    parts: dict[str, Any] = {"posterior": guide, "encoder": encoder, **pair.players(latent)}
    return adversarial.VAEGAN(event_shape, latent, weight=weight, **parts)


def _small() -> dict[str, Any]:
    return {"latent": 2, "hidden": (16,)}


_TRAINING = {"epochs": 300, "lr": adversarial.RATE, "adam": {"betas": adversarial.BETAS}, "ema": adversarial.EMA}

ENTRIES = (
    Entry(
        "gan",
        "generative adversarial network, for points and images; network=null: convolutional for images",
        _gan,
        _TRAINING,
        lambda: (adversarial.GAN(6, **_small()), {"x": examples.points()}),
    ),
    Entry(
        "conditional_gan",
        "a GAN of data given labels, its critic a projection critic; condition=[3]: y is a vector",
        _conditional_gan,
        _TRAINING,
        lambda: (adversarial.ConditionalGAN(6, classes=2, **_small()), examples.labelled_points()),
    ),
    Entry(
        "vae_gan",
        "a VAE whose errors are measured in the features of a critic that it plays against",
        _vae_gan,
        _TRAINING,
        lambda: (adversarial.VAEGAN(6, **_small()), {"x": examples.points()}),
    ),
)
