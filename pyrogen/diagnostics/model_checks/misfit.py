"""Statistics of data and of their residuals that tell in which way a model does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pyrogen.diagnostics.core.estimates import Array

_BINS = 8
"""Bins of about equal size in which residuals are compared along a covariate."""

_MAX_LEVELS = 12
"""Different values up to which a covariate is taken for groups."""


_RANK = dict.fromkeys(("curvature", "trend", "interaction"), 0) | {"autocorrelation": 1, "spread": 2}
"""Kinds of statistics whose distance brings others with it; those come after them."""


@dataclass(frozen=True)
class Misfit:
    """One statistic of the data among those of replicated data sets.

    Args:
        name: of the statistic, such as `skewness` or `trend along x`.
        observed: of the data.
        expected: mean over replicated data sets.
        score: distance in standard deviations over replicated data sets, on the scale on which these are about normal;
            only upwards where only larger values are bad.
        message: what it says of the model, in words.
    """

    name: str
    observed: float
    expected: float
    score: float
    message: str

    @property
    def kind(self) -> str:
        """The statistic without the covariate that it is along."""
        return self.name.split(" along ")[0].split(" of ")[0]

    def __str__(self) -> str:
        return f"{self.name}: {self.observed:.3g}, expected {self.expected:.3g} (z = {self.score:.1f})"


@dataclass(frozen=True)
class _Statistic:
    name: str
    of: Callable[[Array, Array], Array]
    message: str
    positive: bool = False
    only_large: bool = False


def misfits(
    observed: Array, replicated: Array, covariates: Mapping[str, Array] | None = None, kind: str = "real"
) -> list[Misfit]:
    """Compare data with replicated data sets by statistics that suit their kind, and by their residuals.

    Residuals are $r_i = (y_i - m_i) / s_i$ with mean and standard deviation over replications of datum i; those of each
    replicated data set are made alike. They are compared in shape, along each covariate and along the fitted value
    (mean and spread, in bins of equal size), in the order of the rows, and by the uniformity of the ranks of the data
    among their replications (probability integral transform).

    Args:
        observed: (N, ...) the data.
        replicated: (S, N, ...) replicated data sets.
        covariates: columns (N,) that the model conditions on, by name; none by default.
        kind: "real" (the default), "count" or "binary".

    Returns:
        All statistics: those farther than chance explains first, causes before what they bring with them.

    References:
        Gelman, Meng, Stern 1996, Statistica Sinica 6(4); Gabry et al. 2019, JRSS A 182(2), arXiv:1709.01449.
    """
    n = len(observed)
    y = np.asarray(observed, dtype=np.float64).reshape(n, -1)
    draws = np.asarray(replicated, dtype=np.float64).reshape(len(replicated), n, -1)
    mean, sd = draws.mean(0), draws.std(0)
    sd = np.where(sd > 1e-9 * (1 + np.abs(mean)), sd, 1.0)
    data = np.concatenate([y[None], draws])
    residuals = (data - mean) / sd
    ranks = _ranks(data, draws)
    statistics = [_ORDER, *_SHAPES[kind]]
    along = {**(covariates or {}), "the fitted value": mean.mean(1)}
    statistics += [s for name, values in along.items() if np.ptp(values) > 0 for s in _along(name, np.asarray(values))]
    statistics += _products(covariates or {})
    found = [_compare(statistic, data, residuals) for statistic in statistics]
    if kind == "real":
        uniformity = _Statistic("uniformity of ranks", lambda _, u: _distance(u), _UNIFORM, True, True)
        found.append(_compare(uniformity, data, ranks))
    far = critical_score(len(found))
    return sorted(found, key=lambda m: (abs(m.score) <= far, _RANK.get(m.kind, 3), -abs(m.score)))


def critical_score(statistics: int) -> float:
    """The score that the largest of several statistics exceeds by chance in one diagnosis of a hundred.

    Args:
        statistics: their number.

    Returns:
        The normal quantile at level .01 over their number, two-sided.
    """
    return NormalDist().inv_cdf(1 - 0.01 / (2 * statistics))


_UNIFORM = "the ranks of the data among replicated data are not uniform: the shape of the likelihood is wrong"


def _along(name: str, values: Array) -> list[_Statistic]:
    """Mean and spread of residuals along a covariate."""
    bins = _bins(values)
    line = (values - values.mean()) / (values.std() or 1.0)
    square = line**2 - line * (line**3).mean() - 1  # what is no line and no constant
    curve = square / (square.std() or 1.0)
    trend = f"the mean of the residuals changes with {name}: the model misses a trend along it"
    curvature = f"the residuals are curved along {name}: a term in its square, or another link, is missing"
    spread = f"the spread of the residuals changes with {name}: the noise is not the same everywhere"
    return [
        _Statistic(f"curvature along {name}", lambda _, r: (r.mean(2) * curve).mean(1), curvature),
        _Statistic(f"trend along {name}", lambda _, r: _between(r, bins), trend, True, True),
        _Statistic(f"spread along {name}", lambda _, r: _between(np.log(np.abs(r) + 0.1), bins), spread, True, True),
    ]


def _products(covariates: Mapping[str, Array]) -> list[_Statistic]:
    """Correlation of residuals with the product of two covariates."""
    names = list(covariates)
    found = []
    for i, first in enumerate(names[:6]):
        for second in names[i + 1 : 6]:
            a, b = (np.asarray(covariates[name], dtype=np.float64) for name in (first, second))
            product = (a - a.mean()) * (b - b.mean())
            product = (product - product.mean()) / (product.std() or 1.0)
            found.append(
                _Statistic(
                    f"interaction of {first} and {second}",
                    lambda _, r, product=product: (r.mean(2) * product).mean(1),  # type: ignore[misc]
                    f"residuals depend on the product of {first} and {second}: an interaction is missing",
                )
            )
    return found


def _compare(statistic: _Statistic, data: Array, residuals: Array) -> Misfit:
    """A statistic of the data, which are the first set, among those of the others."""
    values = statistic.of(data, residuals)
    scaled = np.log(np.maximum(values, 1e-12)) if statistic.positive else values
    spread = scaled[1:].std(ddof=1)
    score = float((scaled[0] - scaled[1:].mean()) / spread) if spread > 0 else 0.0
    observed, expected = float(values[0]), float(values[1:].mean())
    message = statistic.message.format(observed=observed, expected=expected)
    return Misfit(statistic.name, observed, expected, max(score, 0.0) if statistic.only_large else score, message)


def _moment(residuals: Array, order: int) -> Array:
    centred = residuals - residuals.mean(1, keepdims=True)
    return np.asarray(((centred / np.maximum(centred.std(1, keepdims=True), 1e-12)) ** order).mean((1, 2)))


def _bins(values: Array) -> Array:
    """The bin of each datum: its value where there are few, else one of several of equal size."""
    levels, place = np.unique(values, return_inverse=True)
    if len(levels) <= _MAX_LEVELS:
        return np.asarray(place)
    return np.asarray(np.argsort(np.argsort(values)) * _BINS // len(values))


def _between(values: Array, bins: Array) -> Array:
    """The variance of bin means, weighted by their sizes, over that within bins, (sets,)."""
    total = values.mean((1, 2))
    between, within = np.zeros(len(values)), np.zeros(len(values))
    for one in np.unique(bins):
        part = values[:, bins == one]
        between += part.shape[1] * (part.mean((1, 2)) - total) ** 2
        within += ((part - part.mean((1, 2), keepdims=True)) ** 2).sum((1, 2))
    return between / np.maximum(within, 1e-12)


def _ranks(data: Array, draws: Array) -> Array:
    """The share of draws below each value, datum by datum."""
    ordered = np.sort(draws, 0)
    ranks = np.empty_like(data)
    for place in np.ndindex(data.shape[1:]):
        ranks[(slice(None), *place)] = np.searchsorted(ordered[(slice(None), *place)], data[(slice(None), *place)])
    return ranks / len(draws)


def _distance(ranks: Array) -> Array:
    """The Kolmogorov-Smirnov distance of ranks from uniform ones, (sets,)."""
    ordered = np.sort(ranks.reshape(len(ranks), -1), 1)
    steps = np.arange(1, ordered.shape[1] + 1) / ordered.shape[1]
    return np.asarray(np.abs(ordered - steps).max(1))


_ORDER = _Statistic(
    "autocorrelation",
    lambda _, r: (r[:, 1:] * r[:, :-1]).mean((1, 2)) / np.maximum((r**2).mean((1, 2)), 1e-12),
    "residuals of neighbouring rows are correlated ({observed:.2f}, the model expects {expected:.2f})",
)
_COUNTS = [
    _Statistic(
        "share of zeros",
        lambda y, _: (y == 0).mean((1, 2)),
        "{observed:.0%} of the data are 0, and the model expects {expected:.0%}",
    ),
    _Statistic(
        "dispersion",
        lambda _, r: (r**2).mean((1, 2)),
        "the variance of the counts is {observed:.2g} times what the model expects",
        positive=True,
    ),
    _Statistic(
        "largest count",
        lambda y, _: y.max((1, 2)) + 1,
        "the largest count is {observed:.3g}, and the model expects {expected:.3g}",
        positive=True,
    ),
]
_NUMBERS = [
    _Statistic(
        "skewness",
        lambda _, r: _moment(r, 3),
        "residuals are skewed ({observed:+.2f}, the model expects {expected:+.2f})",
    ),
    _Statistic(
        "kurtosis",
        lambda _, r: _moment(r, 4),
        "the tails of the residuals are not those of the likelihood (kurtosis {observed:.2f}, the model expects "
        "{expected:.2f})",
        positive=True,
    ),
    _Statistic(
        "outliers",
        lambda _, r: np.abs(r).max((1, 2)),
        "the largest residual is {observed:.1f} standard deviations, and the model expects {expected:.1f}: there "
        "are outliers",
        positive=True,
        only_large=True,
    ),
]
_SHAPES: dict[str, list[_Statistic]] = {"binary": [], "count": _COUNTS, "real": _NUMBERS}
"""Statistics (data, residuals) -> (sets,) that suit a kind of data."""
