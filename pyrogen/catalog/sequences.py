"""Stories of series and texts, with their settings."""

from __future__ import annotations

from typing import Any, Literal

from pyrogen import models
from pyrogen.catalog import tiny
from pyrogen.catalog.entry import Entry, chosen
from pyrogen.story import Story

__all__ = ["ENTRIES"]


def _sequence_vae(
    event_shape: tuple[int, ...],
    symbols: int | None = None,
    latent: int = 8,
    network: Literal["recurrent", "transformer"] = "recurrent",
    width: int = 64,
    layers: int = 1,
    keep: float = 1.0,
    noise: bool = True,
) -> Story:
    """Text from a .txt file, series from a .npz; images row by row. Text: --set keep=0.5. MNIST: --epochs 100."""
    chosen("network", network, {"recurrent": 0, "transformer": 0})
    kind = models.SequenceVAE if noise else models.SequenceAutoencoder
    told: Any = {"network": network, "width": width, "layers": layers, "keep": keep}
    return kind(event_shape, latent, symbols or 0, **told)


ENTRIES = (
    Entry(
        "sequence_vae",
        "series (.npz) or text (.txt), of varying length, by recurrent networks or transformers; noise=false: a point",
        _sequence_vae,
        {"epochs": 60, "lr": 3e-3},
        lambda: (models.SequenceVAE((5, 2), latent=2, width=8), tiny.series()),
    ),
)
