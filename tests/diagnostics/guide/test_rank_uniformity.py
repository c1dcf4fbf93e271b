"""P-values and simultaneous bands of uniform ranks, against their levels and ArviZ's bands."""

import math

import numpy as np
from scipy.stats import norm

from pyrogen.diagnostics.guide.rank_uniformity import normal_scores, rank_band, rank_p_values
from tests.helpers.statistics import assert_within


def test_p_values_of_uniform_ranks_are_uniform(seed):
    ranks = np.random.default_rng(seed).integers(0, 20, size=(200, 3000))
    p = rank_p_values(ranks, 20)
    assert_within((p < 0.05).mean(), 0.05, math.sqrt(0.05 * 0.95 / 3000))
    assert_within((p < 0.5).mean(), 0.5, 0.5 / math.sqrt(3000))


def test_the_band_holds_the_whole_function_as_often_as_it_says(seed):
    ranks = np.random.default_rng(seed + 1).integers(0, 20, size=(200, 3000))
    cuts, low, high = rank_band(200, 20, 0.9)
    inside = np.all([(low[j] <= f) & (f <= high[j]) for j, f in enumerate((ranks < c * 20).mean(0) for c in cuts)], 0)
    assert_within(inside.mean(), 0.9, 0.02 / 4.27)  # counts are discrete: the level is met to some 0.01


def test_the_band_is_that_of_arviz(seed):
    from arviz_stats.ecdf_utils import get_pointwise_confidence_band, simulate_confidence_bands

    cuts, low, high = rank_band(500, 50, 0.95)
    pointwise = simulate_confidence_bands(500, 1, cuts, 0.95, 2000, np.random.default_rng(seed))
    lower, upper = get_pointwise_confidence_band(pointwise, 500, cuts)
    assert np.abs(low - lower).max() < 2.5 / 500
    assert np.abs(high - upper).max() < 2.5 / 500


def test_normal_scores_are_quantiles_of_the_middles_of_cells():
    np.testing.assert_allclose(normal_scores(np.array([[2, 0], [1, 1]]), 3), norm.ppf([[5 / 6, 1 / 6], [0.5, 0.5]]))
