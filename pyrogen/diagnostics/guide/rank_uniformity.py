"""Tests and simultaneous bands of uniform ranks, by the whole empirical distribution function."""

from __future__ import annotations

import functools

import numpy as np

from pyrogen.diagnostics.core.estimates import Array

_SIMULATIONS = 20_000
"""Simulated sets of uniform ranks of the null distribution: p-values are multiples of 1/20,001."""

_MAX_CUTS = 49
"""Number of points at which distribution functions are compared, at most."""


def rank_p_values(ranks: Array, cells: int) -> Array:
    r"""P-values of the hypothesis that ranks are uniform on 0, ..., cells - 1.

    The statistic is the smallest pointwise probability, over cuts j of the empirical distribution function, that a
    Binomial(n, j / cells) count is as far out as that of ranks below j. Its distribution under uniformity is simulated.
    Unlike a chi-square test it needs no bins, and is sensitive to ranks that lie to one side, or in the middle.

    Args:
        ranks: (n, ...), integers.
        cells: number of values that a rank may have.

    Returns:
        (...), at least 1/20,001 each.

    Example:
        >>> p = rank_p_values(np.stack([np.arange(1000) % 10, np.arange(1000) % 10 // 2], 1), 10)
        >>> bool(p[0] > 0.9), bool(p[1] < 0.001)
        (True, True)

    References:
        Säilynoja, Bürkner, Vehtari 2022, arXiv:2103.10522.
    """
    n = len(ranks)
    below = np.stack([(ranks < j).sum(0) for j in _cuts(cells)], -1)
    observed, null = _extremeness(below, n, cells), _null(n, cells)
    return np.asarray((1 + np.searchsorted(null, observed * (1 + 1e-9), side="right")) / (1 + len(null)))


def normal_scores(ranks: Array, cells: int) -> Array:
    """Ranks as quantiles of the standard normal, those of the middles of their cells.

    Args:
        ranks: integers from 0 to cells - 1, of any shape.
        cells: number of values that a rank may have.

    Returns:
        Phi^-1((rank + 1/2) / cells), of the same shape.
    """
    from scipy.special import ndtri

    return np.asarray(ndtri((np.arange(cells) + 0.5) / cells)[ranks])


def rank_band(n: int, cells: int, level: float = 0.95) -> tuple[Array, Array, Array]:
    """The simultaneous confidence band of the empirical distribution function of uniform ranks.

    Args:
        n: number of ranks.
        cells: number of values that a rank may have.
        level: probability that the whole function lies in the band, 0.95 by default.

    Returns:
        Cuts j / cells, at most 49 of them; and the least and the largest fraction of ranks below j.
    """
    from scipy.stats import binom

    pointwise = np.quantile(_null(n, cells), 1 - level) / 2
    cuts = _cuts(cells) / cells
    return cuts, binom.ppf(pointwise, n, cuts) / n, binom.isf(pointwise, n, cuts) / n


def _cuts(cells: int) -> Array:
    """Ranks at which distribution functions are compared."""
    return np.unique(np.linspace(1, cells - 1, min(cells - 1, _MAX_CUTS)).round().astype(int))


@functools.lru_cache(maxsize=8)
def _null(n: int, cells: int) -> Array:
    """The statistic for sets of n uniform ranks, sorted."""
    chances = np.diff(_cuts(cells) / cells, prepend=0.0, append=1.0)
    counts = np.random.default_rng(0).multinomial(n, chances, size=_SIMULATIONS)
    return np.sort(_extremeness(counts.cumsum(1)[:, :-1], n, cells))


def _extremeness(below: Array, n: int, cells: int) -> Array:
    """Twice the smallest of the tail probabilities of counts below each cut, (...), from counts (..., cuts)."""
    lower, upper = _tails(n, cells)
    cuts = np.arange(len(lower))
    return np.asarray(2 * np.minimum(lower[cuts, below], upper[cuts, below]).min(-1))


@functools.lru_cache(maxsize=8)
def _tails(n: int, cells: int) -> tuple[Array, Array]:
    """P(count <= c) and P(count >= c) by cut and c, (cuts, n + 1)."""
    from scipy.stats import binom

    cuts, counts = _cuts(cells)[:, None] / cells, np.arange(n + 1)
    return binom.cdf(counts, n, cuts), binom.sf(counts - 1, n, cuts)
