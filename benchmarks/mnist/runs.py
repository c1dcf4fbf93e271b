"""The named runs on MNIST: which story, trained how, and the published figure it stands beside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from pyrogen.autoregressive import AutoregressiveModel
from pyrogen.catalog import CATALOG
from pyrogen.distributions import DiagonalNormal, VampPrior
from pyrogen.inference import ImportanceWeightedELBO
from pyrogen.models import VAE, ConditionalVAE, HierarchicalVAE
from pyrogen.nn import Dense, GatedPixelCNN, PixelCNN, PixelTransformer
from pyrogen.story import Story

__all__ = ["EVENT", "RUNS", "Settings"]

EVENT = (1, 28, 28)
BURDA = "Burda et al. 2015"


@dataclass(frozen=True)
class Settings:
    """What tells one run from another.

    Args:
        about: in words.
        story: makes it.
        epochs: of training; the rate falls over them along half a cosine.
        binarize: "static" (training images drawn once) or "dynamic" (anew for each batch), test images drawn once in
            both; "dequantized" (noise within each grey level, anew for each batch); "none" (the 256 grey levels).
        target: published NLL in nats and its protocol, if there is one for this network.
        rate: Adam's first.
        batch_size: images in a step.
        objective: makes it; None: the ELBO.
        k: draws for each test image, 0 where the likelihood is exact, or a bound that no draw changes. The targets took
            5,000 unless they say otherwise; fewer tell a larger NLL.
        ema: decay of averaged weights.
        columns: what the story sees.
        precision: of the networks in training.
    """

    about: str
    story: Callable[[], Story]
    epochs: int
    binarize: str = "dynamic"
    target: tuple[float, str] | None = None
    rate: float = 1e-3
    batch_size: int = 128
    objective: Callable[[], Any] | None = None
    k: int = 5000
    columns: tuple[str, ...] = ("x",)
    ema: float | None = None
    precision: str = "float32"

    def pixels(self) -> dict[str, Any]:
        """How `pyrogen.data.load` makes the images."""
        return {"dequantize": True} if self.binarize == "dequantized" else {"binarize": self.binarize}

    def to_dict(self) -> dict[str, Any]:
        """What a recorded row says of the settings, ready for JSON."""
        return {
            "about": self.about,
            "epochs": self.epochs,
            "binarize": self.binarize,
            "rate": self.rate,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "ema": self.ema,
        }


def _dropping(noise: float, dropout: float) -> VAE:
    """784-400-40, with a part of the pixels hidden from the encoder and of the decoder's units left out in training."""
    latent, width, pixels = 40, 400, math.prod(EVENT)
    encoder = nn.Sequential(
        nn.Flatten(), nn.Dropout(noise), nn.Linear(pixels, width), nn.SiLU(), nn.Linear(width, 2 * latent)
    )
    decoder = nn.Sequential(
        nn.Linear(latent, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, pixels), nn.Unflatten(-1, EVENT)
    )
    return VAE(EVENT, latent, encoder=encoder, decoder=decoder)


def _small() -> VAE:
    """One stochastic layer of 50 behind two of 200, as Burda et al. have it."""
    return VAE(EVENT, 50, hidden=(200, 200))


def _chain(latents: tuple[int, ...], widths: tuple[int, ...]) -> HierarchicalVAE:
    """Latents guided from the bottom up, two hidden layers of a width of its own between each and the one below."""
    below = [EVENT, *latents[:-1]]
    sides = list(zip(below, latents, widths, strict=True))
    encoders = [Dense(x, DiagonalNormal().size((z,)), (width, width)) for x, z, width in sides]
    sizes = [EVENT, *(DiagonalNormal().size((z,)) for z in latents[:-1])]
    decoders = [Dense(z, size, (width, width)) for (_, z, width), size in zip(sides, sizes, strict=True)]
    return HierarchicalVAE(EVENT, latents, encoders=encoders, decoders=decoders)


def _named(name: str, **settings: Any) -> Story:
    """A story of the catalog, as the command line makes it for MNIST."""
    return CATALOG[name].make(settings, event_shape=EVENT, classes=10, levels=256)


VAN_DEN_OORD = "pytorch-generative, dynamic"

RUNS = {
    "baseline": Settings(
        "VAE 784-400-40, plain ELBO",
        lambda: VAE(EVENT, 40, hidden=(400,)),
        epochs=150,
        binarize="static",
        target=(89.78, "pythae, static (Larochelle's file), k=200"),
        k=200,
    ),
    "regularized": Settings(
        "VAE 784-400-40, a tenth of pixels (encoder) and of hidden units (decoder) dropped in training",
        lambda: _dropping(0.1, 0.1),
        epochs=200,
        binarize="static",
        target=(89.78, "pythae, static (Larochelle's file), k=200"),
        k=200,
    ),
    "vae": Settings("VAE 784-200-200-50, plain ELBO", _small, epochs=500, target=(86.76, f"{BURDA}, dynamic, k=5000")),
    "iwae": Settings(
        "VAE 784-200-200-50, importance-weighted bound with k=50",
        _small,
        epochs=45,
        objective=lambda: ImportanceWeightedELBO(50),
        target=(84.78, f"{BURDA}, dynamic, k=5000"),
    ),
    "vampprior": Settings(
        "VAE 784-400-40 with a VampPrior of 500 pseudo-inputs",
        lambda: VAE(EVENT, 40, hidden=(400,), prior=VampPrior(EVENT, 500)),
        epochs=380,
        binarize="static",
        target=(85.79, "pythae, static (Larochelle's file), k=5000"),
        k=1000,
    ),
    "conditional": Settings(
        "conditional VAE 784-400-40 given the digit; its figure is log p(x | y)",
        lambda: ConditionalVAE(EVENT, 40, classes=10, hidden=(400,)),
        epochs=800,
        k=1000,
        columns=("x", "y"),
    ),
    "hierarchical-2": Settings(
        "hierarchical VAE, latents 100 and 50, two layers of 200 and of 100 between, plain ELBO",
        lambda: _chain((100, 50), (200, 100)),
        epochs=700,
        target=(82.90, f"{BURDA}, IWAE of these layers, dynamic, k=5000"),
        k=1000,
    ),
    "hierarchical-3": Settings(
        "hierarchical VAE, latents 100, 50 and 25, two layers of 200, of 100 and of 50 between, plain ELBO",
        lambda: _chain((100, 50, 25), (200, 100, 50)),
        epochs=450,
        target=(82.90, f"{BURDA}, IWAE of two layers, dynamic, k=5000"),
        k=1000,
    ),
    "pixelcnn": Settings(
        "PixelCNN, 15 blocks of 16 channels",
        lambda: AutoregressiveModel(EVENT, PixelCNN(EVENT, width=16, blocks=15)),
        epochs=18,
        target=(81.45, VAN_DEN_OORD),
        batch_size=32,
        k=0,
    ),
    "gated_pixelcnn": Settings(
        "gated PixelCNN, 8 layers of 32 channels",
        lambda: AutoregressiveModel(EVENT, GatedPixelCNN(EVENT, width=32, blocks=8)),
        epochs=6,
        target=(81.50, VAN_DEN_OORD),
        batch_size=32,
        k=0,
    ),
    "image_transformer": Settings(
        "transformer over pixels, 4 layers of 64, 2 heads",
        lambda: AutoregressiveModel(EVENT, PixelTransformer(EVENT, width=64, heads=2, layers=4)),
        epochs=2,
        target=(79.17, f"{VAN_DEN_OORD}, 8 layers of 64"),
        batch_size=32,
        k=0,
        precision="bfloat16",
    ),
    "flow": Settings(
        "multi-scale flow of spline couplings",
        lambda: _named("flow"),
        epochs=25,
        binarize="dequantized",
        k=0,
    ),
    "diffusion": Settings(
        "diffusion of 1,000 levels, U-Net of 32 and 64 channels",
        lambda: _named("diffusion", channels=[32, 64]),
        epochs=12,
        binarize="none",
        k=2,
        ema=0.999,
    ),
    "vq_vae": Settings(
        "VQ-VAE 784-400, 16 places of 64 codes, transformer prior",
        lambda: _named("vq_vae", grid=16, codes=64),
        epochs=150,
        k=0,
    ),
}
