"""Conditional stories: data given labels, and for comparison labels given data. Defaults suit digits."""

from __future__ import annotations

from typing import Annotated, Any

from pyrogen import models
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import likelihood_of, posterior_of
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import UsedIf
from pyrogen.nn import as_shape
from pyrogen.story import Story


def _conditional_vae(
    event_shape: tuple[int, ...],
    classes: Annotated[types.Size | None, UsedIf(condition=None)] = None,
    levels: types.Levels = None,
    missing_labels: bool = False,
    latent: types.Size = 16,
    condition: Annotated[types.Sizes | None, UsedIf(missing_labels=False)] = None,
    likelihood: types.Likelihood = "bernoulli",
    posterior: types.Posterior = "diagonal",
    hidden: types.Sizes = (400,),
    alpha: Annotated[types.NonNegative, UsedIf(missing_labels=True)] = 1.0,
) -> Story:
    """data given labels, p(x given y); missing labels (-1) are summed over; condition=[3]: y is a vector."""
    # For MNIST: --epochs 300 --set latent=40.
    parts: dict[str, Any] = {
        "likelihood": likelihood_of(likelihood, event_shape, levels),
        "posterior": posterior_of(posterior, latent),
        "hidden": as_shape(hidden),
    }
    if missing_labels and classes is not None:
        return models.SemiSupervisedVAE(event_shape, latent, classes, alpha=alpha, **parts)
    if condition is not None:
        return models.ConditionalVAE(event_shape, latent, condition=as_shape(condition), **parts)
    return models.ConditionalVAE(event_shape, latent, classes, **parts)


def _classifier(event_shape: tuple[int, ...], classes: types.Size, hidden: types.SizesOrNone = (400,)) -> Story:
    """labels given data, p(y given x), dense; hidden=[] is logistic regression."""
    # For MNIST: --epochs 10 --lr 1e-3.
    return models.Classifier(event_shape, classes, hidden=as_shape(hidden))


ENTRIES = (
    Entry.of(
        _conditional_vae,
        lambda: (models.ConditionalVAE((1, 4, 4), latent=2, classes=2, hidden=(16,)), examples.labelled_images()),
        epochs=100,
        lr=1e-3,
    ),
    Entry.of(
        _classifier,
        lambda: (models.Classifier((1, 4, 4), classes=2, hidden=(16,)), examples.labelled_images()),
        epochs=40,
        lr=1e-2,
    ),
)
