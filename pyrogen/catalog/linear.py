"""Linear-Gaussian stories."""

from __future__ import annotations

from pyrogen import models
from pyrogen.catalog import tiny
from pyrogen.catalog.entry import Entry
from pyrogen.story import Story

__all__ = ["ENTRIES"]


def _ppca(event_shape: tuple[int, ...], latent: int = 10, guide: str = "full") -> Story:
    return models.PPCA(event_shape, latent, guide=guide)  # type: ignore[arg-type]


ENTRIES = (
    Entry(
        "ppca",
        "probabilistic PCA: linear, with exact likelihood and posterior",
        _ppca,
        {"epochs": 60, "lr": 5e-3},
        lambda: (models.PPCA(6, 2), {"x": tiny.points()}),
    ),
)
