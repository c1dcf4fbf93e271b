"""Stories of series and texts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pyrogen import models
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import likelihood_of, posterior_of, prior_of
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import UsedIf
from pyrogen.story import Story

Element = Literal["auto", "gaussian", "gaussian-pixel", "gaussian-shared", "bernoulli", "logistic", "categorical"]


def _sequence_vae(
    event_shape: tuple[int, ...],
    symbols: types.Size | None = None,
    levels: types.Levels = None,
    latent: types.Size = 8,
    likelihood: Element = "auto",
    network: Literal["recurrent", "transformer"] = "recurrent",
    width: types.Size = 64,
    layers: types.Count = 1,
    word_keep_prob: types.Probability = 1.0,
    noise: bool = True,
    posterior: Annotated[types.Posterior, UsedIf(noise=True)] = "diagonal",
    prior: Annotated[types.Prior, UsedIf(noise=True)] = "normal",
    components: types.Components = 50,
) -> Story:
    """series (.npz) or text (.txt) of varying length, recurrent or by transformers; noise=false: an autoencoder."""
    # For text: --set word_keep_prob=0.5. For MNIST: --epochs 100.
    parts: dict[str, Any] = {"network": network, "width": width, "layers": layers, "word_keep_prob": word_keep_prob}
    parts["likelihood"] = None if likelihood == "auto" else likelihood_of(likelihood, event_shape[-1:], levels)
    if not noise:
        return models.SequenceAutoencoder(event_shape, latent, symbols or 0, **parts)
    parts["posterior"] = posterior_of(posterior, latent)
    parts["prior"] = prior_of(prior, latent, event_shape, components)
    return models.SequenceVAE(event_shape, latent, symbols or 0, **parts)


ENTRIES = (
    Entry.of(
        _sequence_vae, lambda: (models.SequenceVAE((5, 2), latent=2, width=8), examples.series()), epochs=60, lr=3e-3
    ),
)
