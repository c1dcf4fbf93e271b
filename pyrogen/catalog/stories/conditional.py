"""Conditional stories: data given labels, with their settings for digits; those for MNIST are said with each."""

from __future__ import annotations

from typing import Any

from pyrogen import models
from pyrogen.catalog import examples
from pyrogen.catalog.components import Sizes, likelihood_of, posterior_of
from pyrogen.catalog.entry import Entry, sizes
from pyrogen.story import Story

__all__ = ["ENTRIES"]


def _conditional_vae(
    event_shape: tuple[int, ...],
    classes: int | None = None,
    levels: int | None = None,
    missing_labels: bool = False,
    latent: int = 16,
    condition: Sizes | None = None,
    likelihood: str = "bernoulli",
    posterior: str = "diagonal",
    hidden: Sizes = (400,),
    alpha: float = 1.0,
) -> Story:
    """MNIST: --epochs 300 --set latent=40."""
    family, guide, widths = likelihood_of(likelihood, event_shape, levels), posterior_of(posterior, latent), hidden
    parts: dict[str, Any] = {"likelihood": family, "posterior": guide, "hidden": sizes("hidden", widths)}
    if missing_labels and classes is not None:
        return models.SemiSupervisedVAE(event_shape, latent, classes, alpha=alpha, **parts)
    if condition is not None:
        return models.ConditionalVAE(event_shape, latent, condition=sizes("condition", condition), **parts)
    return models.ConditionalVAE(event_shape, latent, classes, **parts)


ENTRIES = (
    Entry(
        "conditional_vae",
        "data given labels, p(x given y); labels that are missing (-1) are summed over; condition=[3]: y is a vector",
        _conditional_vae,
        {"epochs": 100, "lr": 1e-3},
        lambda: (models.ConditionalVAE((1, 4, 4), latent=2, classes=2, hidden=(16,)), examples.labelled_images()),
    ),
)
