"""Linear-Gaussian stories, and PCA beside them. Defaults suit digits."""

from __future__ import annotations

from typing import Literal

from pyrogen import models
from pyrogen.catalog import examples, types
from pyrogen.catalog.components import covariance_of
from pyrogen.catalog.entry import Entry
from pyrogen.story import Story


def _gaussian(
    event_shape: tuple[int, ...], covariance: types.Covariance = "full", floor: types.Positive = 1e-4
) -> Story:
    """one Gaussian at maximum likelihood: full, diagonal or spherical covariance."""
    # For MNIST: the defaults.
    return models.MultivariateGaussian(event_shape, covariance_of(covariance, floor))


def _pca(event_shape: tuple[int, ...], latent: types.Size = 10) -> Story:
    """principal component analysis: a projection, without a density."""
    # For MNIST: --set latent=50.
    return models.PCA(event_shape, latent)


def _ppca(event_shape: tuple[int, ...], latent: types.Size = 10, guide: Literal["full", "meanfield"] = "full") -> Story:
    """probabilistic PCA: linear, with exact likelihood and posterior."""
    # For MNIST: --epochs 20 --set latent=50.
    return models.PPCA(event_shape, latent, guide)


def _bayesian_ppca(event_shape: tuple[int, ...], latent: types.Size = 30) -> Story:
    """probabilistic PCA with priors, which switch off the columns that the data do not need."""
    # For MNIST: --epochs 20 --lr 1e-3 --set latent=100.
    return models.BayesianPPCA(event_shape, latent)


def _factor_analysis(event_shape: tuple[int, ...], latent: types.Size = 10, floor: types.Positive = 1e-4) -> Story:
    """factor analysis: probabilistic PCA with a noise of its own for each feature."""
    # For MNIST: --epochs 20 --set latent=50.
    return models.FactorAnalysis(event_shape, latent, floor)


ENTRIES = (
    Entry.of(_gaussian, lambda: (models.MultivariateGaussian(6, covariance_of("full", 0.1)), examples.points())),
    Entry.of(_pca, lambda: (models.PCA(6, 2), examples.points())),
    Entry.of(_ppca, lambda: (models.PPCA(6, 2), examples.points()), epochs=60, lr=5e-3),
    Entry.of(
        _bayesian_ppca, lambda: (models.BayesianPPCA(6, 4), examples.points()), epochs=100, batch_size=128, lr=1e-2
    ),
    Entry.of(_factor_analysis, lambda: (models.FactorAnalysis(6, 2, floor=0.1), examples.points()), epochs=60, lr=5e-3),
)
