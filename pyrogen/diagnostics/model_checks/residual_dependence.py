"""Statistics of how residuals depend on covariates, on the fitted value, and on products of covariates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.model_checks.misfit_statistics import DataSets, Kind, Statistic, standardized

BINS = 8
"""Bins of about equal size in which residuals are compared along a covariate."""

MAX_LEVELS = 12
"""Different values up to which a covariate is taken for groups."""

MAX_FACTORS = 6
"""Covariates of which products are looked at."""

FITTED = "the fitted value"


def dependence_statistics(sets: DataSets, covariates: Mapping[str, Array]) -> Iterator[Statistic]:
    """The statistics of residuals along covariates.

    Args:
        sets: the data and the replications.
        covariates: columns (N,), by name.

    Yields:
        Mean and spread along each covariate and the fitted value, and the slope along products of two covariates.
    """
    fitted = {FITTED: sets.mean.mean(1)} if sets.has_covariates else {}
    for name, values in {**covariates, **fitted}.items():
        if np.ptp(values) > 0:
            yield from _along(name, np.asarray(values, dtype=np.float64), sets.kind)
    yield from _products(covariates)


def _along(name: str, values: Array, kind: Kind) -> Iterator[Statistic]:
    """Mean and spread of residuals along a covariate."""
    bins, groups = _bins(values), len(np.unique(values)) <= MAX_LEVELS
    line = standardized(values)
    curve = standardized(line**2 - line * (line**3).mean()) * (not groups)
    by = "differs between the groups of" if groups else "changes with"
    trend = f"the mean of the residuals {by} {name}: the model misses a dependence on it"
    if kind == "binary":
        trend = f"the predicted probabilities are not calibrated: the observed share {by} {name} otherwise than they do"
    if name == FITTED and kind != "binary":
        trend = f"the mean of the residuals {by} {name}: the link, or the form of the mean, is wrong"
    curvature = f"the residuals are curved along {name}: a term in its square, or another link, is missing"
    spread = f"the spread of the residuals {by} {name}: the noise is not the same everywhere (heteroscedasticity)"
    if not groups:
        yield Statistic(f"curvature along {name}", lambda s: _slope(s.of_rows, curve), curvature)
    yield Statistic(f"trend along {name}", lambda s: _between(_without(s.of_rows, curve), bins), trend, "", 1 / 3, True)
    if kind != "binary":
        along = bins if groups else _polynomials(values)
        yield Statistic(f"spread along {name}", lambda s: _spread(s.residuals, along), spread, "", 1 / 3, True)


def _products(covariates: Mapping[str, Array]) -> Iterator[Statistic]:
    """The slope of residuals along the product of two covariates."""
    names = [name for name in covariates if np.ptp(covariates[name]) > 0][:MAX_FACTORS]
    columns = {name: standardized(np.asarray(covariates[name], dtype=np.float64)) for name in names}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            product = standardized(columns[a] * columns[b])
            message = f"residuals depend on the product of {a} and {b}: an interaction is missing"
            yield Statistic(f"interaction of {a} and {b}", lambda s, p=product: _slope(s.of_rows, p), message)  # type: ignore[misc]


def _slope(residuals: Array, along: Array) -> Array:
    """The slope of residuals (sets, N) over White's (1980) standard error, whatever the spread of the noise."""
    centred = residuals - residuals.mean(1, keepdims=True)
    slope = centred @ along / len(along)
    rest = centred - slope[:, None] * along
    return np.asarray(slope * len(along) / np.sqrt(np.maximum(rest**2 @ along**2, 1e-12)))


def _without(residuals: Array, along: Array) -> Array:
    """Residuals (sets, N) less what is linear in a column (N,)."""
    return np.asarray(residuals - (residuals @ along / len(along))[:, None] * along)


def _between(values: Array, bins: Array) -> Array:
    """Squared distances of bin means of (sets, N) from the common one over their variances (Welch 1951)."""
    parts = [values[:, bins == one] for one in np.unique(bins)]
    means = np.stack([part.mean(1) for part in parts], 1)
    sizes = np.array([part.shape[1] for part in parts])
    squares = np.stack([part.var(1) * part.shape[1] for part in parts], 1)
    pooled = squares.sum(1, keepdims=True) / values.shape[1]
    weights = sizes * (sizes + 5) / np.maximum(squares + 5 * pooled, 1e-12)  # five rows' worth of the pooled variance
    common = (weights * means).sum(1, keepdims=True) / weights.sum(1, keepdims=True)
    return np.asarray((weights * (means - common) ** 2).sum(1))


def _spread(residuals: Array, along: Array) -> Array:
    """How far the log size of residuals (sets, N, D) depends on bins (N,) or on columns (K, N), (sets,)."""
    size = np.log(np.abs(residuals) + 0.1).mean(2)
    if along.ndim == 1:
        return _between(size, along)
    centred = size - size.mean(1, keepdims=True)
    return np.asarray(((centred @ along.T) ** 2).sum(1) / np.maximum((centred**2).mean(1), 1e-12) / len(along.T))


def _polynomials(values: Array) -> Array:
    """Orthonormal polynomials of the ranks, of degree 1 to 3, (3, N)."""
    place = np.argsort(np.argsort(values)) / len(values) * 2 - 1
    basis, _ = np.linalg.qr(np.stack([place**k for k in range(4)], 1))
    return np.asarray(basis[:, 1:].T * math.sqrt(len(values)))


def _bins(values: Array) -> Array:
    """The bin of each datum: its value where there are few, else one of several of equal size."""
    levels, place = np.unique(values, return_inverse=True)
    if len(levels) <= MAX_LEVELS:
        return np.asarray(place)
    return np.asarray(np.argsort(np.argsort(values)) * BINS // len(values))
