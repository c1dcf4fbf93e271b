"""Mixtures of Gaussians, on a few centres or on every datum; k-means beside them. Defaults suit digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pyrogen import distributions, models
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import covariance_of
from pyrogen.catalog.entry import Entry
from pyrogen.distributions import Bandwidth
from pyrogen.story import Story


def _kde(
    event_shape: tuple[int, ...],
    total: int,
    bandwidth: Literal["leave-one-out", "scott", "silverman"] | types.Positive = "leave-one-out",
) -> Story:
    """kernel density estimate; bandwidth: leave-one-out, scott, silverman, or a number."""
    # For MNIST: the defaults.
    rules: dict[str, Callable[[], Bandwidth]] = {
        "leave-one-out": distributions.LeaveOneOutBandwidth,
        "scott": distributions.Scott,
        "silverman": distributions.Silverman,
    }
    return models.KDE(event_shape, total, rules[bandwidth]() if isinstance(bandwidth, str) else bandwidth)


def _kmeans(event_shape: tuple[int, ...], clusters: types.Size = 10) -> Story:
    """k-means: a partition with codes, without a density."""
    # For MNIST: --set clusters=50.
    return models.KMeans(event_shape, clusters)


def _mixture(
    event_shape: tuple[int, ...],
    components: types.Size = 10,
    covariance: types.Covariance = "full",
    floor: types.Positive = 1e-4,
) -> Story:
    """Gaussian mixture, started by k-means: full, diagonal or spherical covariances."""
    # For MNIST: --epochs 20 --set covariance=diagonal --set components=50.
    return models.GaussianMixture(event_shape, components, covariance_of(covariance, floor))


ENTRIES = (
    Entry.of(_kde, lambda: (models.KDE(6, 96), examples.points())),
    Entry.of(_kmeans, lambda: (models.KMeans(6, 3), examples.points())),
    Entry.of(
        _mixture,
        lambda: (models.GaussianMixture(6, 3, covariance_of("full", 0.1)), examples.points()),
        epochs=60,
        lr=3e-3,
    ),
)
