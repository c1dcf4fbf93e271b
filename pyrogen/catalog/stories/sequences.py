"""Stories of series and texts, with their settings."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pyrogen import models
from pyrogen.catalog import examples
from pyrogen.catalog.components import Posterior, PriorName, likelihood_of, posterior_of, prior_of
from pyrogen.catalog.entry import Entry, chosen
from pyrogen.story import Story

__all__ = ["ENTRIES"]

ElementName = Literal["auto", "gaussian", "gaussian-pixel", "gaussian-shared", "bernoulli", "logistic", "categorical"]


def _sequence_vae(
    event_shape: tuple[int, ...],
    symbols: int | None = None,
    levels: int | None = None,
    latent: int = 8,
    likelihood: ElementName = "auto",
    network: Literal["recurrent", "transformer"] = "recurrent",
    width: int = 64,
    layers: int = 1,
    word_keep_prob: float = 1.0,
    noise: bool = True,
    posterior: Posterior = "diagonal",
    prior: PriorName = "normal",
    components: int = 50,
) -> Story:
    """Text from .txt, series from .npz; images row by row. Text: --set word_keep_prob=0.5. MNIST: --epochs 100."""
    chosen("network", network, {"recurrent": 0, "transformer": 0})
    chosen("likelihood", likelihood, dict.fromkeys(get_args(ElementName)))
    family = None if likelihood == "auto" else likelihood_of(likelihood, event_shape[-1:], levels)
    told: Any = {"network": network, "width": width, "layers": layers, "word_keep_prob": word_keep_prob}
    told["likelihood"] = family
    if not noise:
        if (posterior, prior) != ("diagonal", "normal"):
            raise ValueError("noise=false has codes alone, neither posterior nor prior: leave those out, or noise")
        return models.SequenceAutoencoder(event_shape, latent, symbols or 0, **told)
    told |= {"posterior": posterior_of(posterior, latent), "prior": prior_of(prior, latent, event_shape, components)}
    return models.SequenceVAE(event_shape, latent, symbols or 0, **told)


ENTRIES = (
    Entry(
        "sequence_vae",
        "series (.npz) or text (.txt), of varying length, by recurrent networks or transformers; noise=false: a point",
        _sequence_vae,
        {"epochs": 60, "lr": 3e-3},
        lambda: (models.SequenceVAE((5, 2), latent=2, width=8), examples.series()),
    ),
)
