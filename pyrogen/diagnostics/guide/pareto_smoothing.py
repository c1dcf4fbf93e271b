"""Pareto smoothed importance sampling: k-hat, its threshold, and smoothed weights."""

from __future__ import annotations

import math

import numpy as np

from pyrogen.annotations import Count
from pyrogen.diagnostics.core.estimates import Array

MIN_DRAWS = 25
"""Draws from which there are the five largest weights that a Pareto tail is fitted to."""


def khat_threshold(num_samples: Count) -> float:
    """The k-hat above which importance weights are unreliable: min(1 - 1 / log10 S, 0.7) (Vehtari et al. 2024).

    Args:
        num_samples: draws S.

    Returns:
        The threshold; -inf for one draw.
    """
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 1 else -math.inf


def pareto_smooth(log_weights: Array) -> tuple[Array, Array]:
    """Pareto smoothed importance sampling (PSIS) of each datum.

    The largest weights of each datum are fitted by a generalized Pareto distribution, of which k is the shape: 1/k
    moments of the weights are finite. For a Gaussian posterior with covariance S and a Gaussian guide with covariance
    B, k = 1 - lambda_min(S^-1 B).

    k-hat is -inf where the largest weights are all the same to rounding, as under an exact guide: nothing is fitted,
    and nothing is wrong. It is inf where so few draws hold all the weight that the others vanish beside them; and nan
    where there are fewer than 25 draws, or ties that leave no tail to fit. Weights are then as they were; nan where all
    of them vanish.

    Args:
        log_weights: (S, N) in nats.

    Returns:
        Smoothed log weights (S, N), normalized over draws, and k-hat (N,).
    """
    from arviz_stats.base.array import array_stats

    raw = np.asarray(log_weights)
    rounding = 32 * (np.finfo(raw.dtype).eps if raw.dtype.kind == "f" else 0.0)
    weights = raw.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        normalized = weights - weights.max(0) - np.log(relative_weights(weights).sum(0))
    if len(weights) < MIN_DRAWS:
        return normalized, np.full(weights.shape[1], np.nan)
    khat, fit = _without_fit(weights, rounding)
    with np.errstate(all="ignore"):
        # The logs of ratios whose inverses are the weights: of -log w, not of log w.
        smooth, khat[fit] = array_stats.psislw(-weights[:, fit].T)
    normalized[:, fit] = smooth.T
    return normalized, khat


def tail_size(draws: int) -> int:
    """Number of largest weights that a Pareto tail is fitted to (Vehtari et al. 2024).

    Args:
        draws: number of all weights.

    Returns:
        3 sqrt(draws), or a fifth of the draws where these are few.
    """
    return int(3 * math.sqrt(draws)) if draws > 225 else draws // 5


def _without_fit(weights: Array, rounding: float) -> tuple[Array, Array]:
    """K-hat of data without a tail to fit, (N,), and whether there is one, (N,)."""
    draws = len(weights)
    tail = tail_size(draws)
    ranks = draws - tail - 1, draws - tail, draws - tail - 1 + int(tail / 4 + 0.5), draws - 1
    cutoff, least, quartile, top = np.partition(weights, ranks, 0)[list(ranks)]
    with np.errstate(invalid="ignore"):
        constant = top - least <= rounding * np.maximum(1, np.abs(top))
        vanishing = (np.exp(quartile - top) == 0) | np.isneginf(top)
        tied = quartile == cutoff  # the fit divides by the excess of the tail's first quartile
    khat = np.select([constant, vanishing, tied], [-np.inf, np.inf, np.nan])
    return khat, ~(constant | vanishing | tied)


def relative_weights(log_weights: Array) -> Array:
    """Weights relative to the largest of each datum, in double precision.

    Args:
        log_weights: (S, N) in nats.

    Returns:
        (S, N), from 0 to 1.
    """
    weights = np.asarray(log_weights, dtype=np.float64)
    top = weights.max(0)
    return np.asarray(np.exp(weights - np.where(np.isneginf(top), 0.0, top)))
