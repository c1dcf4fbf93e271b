"""Statistics of the order, the shape and the size of residuals and of counts."""

from __future__ import annotations

import math

import numpy as np

from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.model_checks.misfit_statistics import DataSets, Kind, Statistic, robust_scale

_INFLATION = 0.1
"""Share of further zeros under which the likelihood ratio of zero inflation is taken."""

_CELLS = 96
"""Cells of the histogram of residuals in which a valley is looked for."""


def _autocorrelation(sets: DataSets) -> Array:
    centred = sets.bounded - sets.bounded.mean((1, 2), keepdims=True)
    return np.asarray((centred[:, 1:] * centred[:, :-1]).mean((1, 2)) / np.maximum((centred**2).mean((1, 2)), 1e-12))


def _largest(sets: DataSets) -> Array:
    """The largest residual in standard deviations over replications alone, (sets,)."""
    sd = sets.values[1:].std(0)
    return np.asarray((np.abs(sets.values - sets.mean) / np.where(sd > 0, sd, 1.0)).max((1, 2)))


def _moment(residuals: Array, order: int) -> Array:
    centred = residuals - residuals.mean((1, 2), keepdims=True)
    sd = np.maximum(centred.std((1, 2), keepdims=True), 1e-12)
    return np.asarray(((centred / sd) ** order).mean((1, 2)))


def valley(residuals: Array) -> Array:
    """Depth of the deepest valley in the density of numbers, that of the middle of their range.

    Args:
        residuals: (sets, N, D).

    Returns:
        (sets,), on the scale on which counts have the same variance; 0 where there is one peak.
    """
    # The density is a count of those nearby, and the depth that of its root, whose variance is the same everywhere.
    values = residuals.reshape(len(residuals), -1)
    middle, scale = robust_scale(values)
    inside = np.abs(values - middle) < 4 * scale
    cells = ((values - middle) / scale * inside + 4) / 8 * _CELLS
    places = cells.astype(int) + np.arange(len(values))[:, None] * _CELLS
    counts = np.bincount(places[inside], minlength=len(values) * _CELLS).reshape(-1, _CELLS)
    width = 0.9 * values.shape[1] ** -0.2 / 8 * _CELLS  # Silverman's rule
    grid = np.arange(_CELLS)
    density = np.sqrt(counts @ np.exp(-0.5 * ((grid[:, None] - grid) / width) ** 2))
    left = np.maximum.accumulate(density, 1)
    right = np.maximum.accumulate(density[:, ::-1], 1)[:, ::-1]
    return np.asarray((np.minimum(left, right) - density).max(1))


def _positive_dispersion(sets: DataSets) -> Array:
    """Pearson's chi-square of the positive counts over their number, under Poisson rates fitted to them, (sets,)."""
    rates, positive = sets.rates_of_positive, sets.values > 0
    shown = -np.expm1(-rates)
    mean = rates / shown
    squares = (sets.values - mean) ** 2 / np.maximum(mean * (1 + rates - mean), 1e-9)
    return np.asarray(np.where(positive, squares, 0.0).sum((1, 2)) / np.maximum(positive.sum((1, 2)), 1))


def _zero_inflation(sets: DataSets) -> Array:
    """Log-likelihood ratio of Poisson counts with and without a tenth of further zeros, (sets,)."""
    # Rates are those of the positive counts alone, for further zeros lower the fitted ones. That counts are Poisson is
    # a working assumption: replications tell how large the ratio is under the model.
    zero = np.logaddexp(math.log(_INFLATION) + sets.rates_of_positive, math.log1p(-_INFLATION))
    return np.asarray(np.where(sets.values == 0, zero, math.log1p(-_INFLATION)).sum((1, 2)))


ORDER = Statistic(
    "autocorrelation",
    _autocorrelation,
    "residuals of neighbouring rows are correlated ({observed:.2f}, the model expects {expected:.2f}): autocorrelation",
)
_COUNTS = (
    Statistic(
        "share of zeros",
        _zero_inflation,
        "{observed:.0%} of the data are 0, and the model expects {expected:.0%}: zero inflation",
        "{observed:.0%} of the data are 0, and the model expects {expected:.0%}: too few zeros",
        shown=lambda s: (s.values == 0).mean((1, 2)),
    ),
    Statistic(
        "dispersion of positive counts",
        _positive_dispersion,
        "the positive counts vary more than the model expects ({observed:.2f} against {expected:.2f}): overdispersion",
        "the positive counts vary less than the model expects ({observed:.2f} against {expected:.2f}): underdispersion",
        power=0,
    ),
    Statistic(
        "dispersion",
        lambda s: (s.residuals**2).mean((1, 2)),
        "the variance of the counts is {observed:.2g} times what the model expects: overdispersion",
        "the variance of the counts is {observed:.2g} times what the model expects: underdispersion",
        power=0,
    ),
    Statistic(
        "largest count",
        lambda s: s.values.max((1, 2)) + 1,
        "the largest count is {observed:.3g}, and the model expects {expected:.3g}",
        power=0,
        extreme=True,
        shown=lambda s: s.values.max((1, 2)),
    ),
)
_NUMBERS = (
    Statistic(
        "clusters",
        lambda s: valley(s.residuals),
        "the residuals fall into clusters, with a gap between them: a group, or a mixture, is missing",
        only_large=True,
        least_spread=0.3,
    ),
    Statistic(
        "skewness",
        lambda s: _moment(s.bounded, 3),
        "the residuals are skewed ({observed:+.2f}, the model expects {expected:+.2f})",
    ),
    Statistic(
        "kurtosis",
        lambda s: _moment(s.residuals, 4),
        "the residuals have heavier tails than the likelihood, or outliers (kurtosis {observed:.1f}, the model expects "
        "{expected:.1f})",
        "the residuals have lighter tails than the likelihood (kurtosis {observed:.2f}, the model expects "
        "{expected:.2f})",
        power=0,
        extreme=True,
    ),
    Statistic(
        "outliers",
        lambda s: np.abs(s.residuals).max((1, 2)),
        "the largest residual is {observed:.1f} standard deviations, and the model expects {expected:.1f}: there are "
        "outliers",
        power=0,
        only_large=True,
        extreme=True,
        shown=_largest,
    ),
)
SHAPES: dict[Kind, tuple[Statistic, ...]] = {"binary": (), "count": _COUNTS, "real": _NUMBERS}
