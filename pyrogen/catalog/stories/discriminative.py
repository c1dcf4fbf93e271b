"""Discriminative stories: labels given data, for comparison. Defaults suit digits."""

from __future__ import annotations

from pyrogen import models
from pyrogen.catalog import examples, types
from pyrogen.catalog.entry import Entry
from pyrogen.nn import as_shape
from pyrogen.story import Story


def _classifier(event_shape: tuple[int, ...], classes: types.Size, hidden: types.SizesOrNone = (400,)) -> Story:
    """labels given data, p(y given x), dense; hidden=[] is logistic regression."""
    # For MNIST: --epochs 10 --lr 1e-3.
    return models.Classifier(event_shape, classes, hidden=as_shape(hidden))


ENTRIES = (
    Entry.of(
        _classifier,
        lambda: (models.Classifier((1, 4, 4), classes=2, hidden=(16,)), examples.labelled_images()),
        epochs=40,
        lr=1e-2,
    ),
)
