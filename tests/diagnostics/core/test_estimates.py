"""Estimates and their standard errors, against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pyrogen.diagnostics.core.estimates import Estimate, Estimates, finite_or_none
from tests.helpers.statistics import assert_within


def test_a_mean_has_the_standard_error_of_independent_values():
    assert Estimate.mean(torch.tensor([1.0, 2.0, 3.0, 6.0])) == pytest.approx((3.0, math.sqrt(14 / 3 / 4)))


def test_a_share_has_a_binomial_error_that_is_never_zero():
    assert Estimate.share(torch.arange(8) < 2) == pytest.approx((0.25, math.sqrt(0.3 * 0.7 / 8)))
    none = Estimate.share(torch.zeros(8, dtype=torch.bool))
    assert none == pytest.approx((0.0, math.sqrt(0.1 * 0.9 / 8)))
    counts = Estimates.of_counts(np.array([2, 0]), 8)
    np.testing.assert_allclose(counts.error, [math.sqrt(0.3 * 0.7 / 8), none.error])


def test_means_over_draws_are_those_of_each_entry():
    draws = np.random.default_rng(0).normal(size=(50, 2, 3))
    estimates = Estimates.of_draws(draws)
    np.testing.assert_allclose(estimates.value, draws.mean(0))
    one = Estimate.mean(torch.from_numpy(draws[:, 1, 2]))
    assert (estimates.value[1, 2], estimates.error[1, 2]) == pytest.approx(one)
    assert np.isnan(Estimates.of_draws(draws[:1]).error).all()


def test_means_and_sums_add_variances():
    estimates = Estimates.joined(
        [Estimates(np.array([1.0]), np.array([3.0])), Estimates(np.array([5.0]), np.array([4.0]))]
    )
    assert estimates.mean() == pytest.approx((3.0, 2.5))
    assert estimates.sum() == pytest.approx((6.0, 5.0))


def test_the_exceedance_of_two_normals(seed):
    """P(X > Y) = Phi(1 / sqrt 2) for unit normals whose means are 1 apart, and the error is that of the estimates."""
    rng = np.random.default_rng(seed)
    draws = [Estimate.exceedance(1 + rng.normal(size=80), rng.normal(size=120)) for _ in range(400)]
    value, error = np.array(draws).T
    assert_within(value.mean(), norm.cdf(1 / math.sqrt(2)), value.std() / 20)
    assert_within(np.sqrt((error**2).mean()), value.std(), value.std() * math.sqrt(1 / 800) + error.std() / 20)


def test_the_exceedance_is_the_area_of_scikit_learn_ties_included(seed):
    rng = np.random.default_rng(seed)
    values, others = rng.integers(0, 9, size=70), rng.integers(1, 12, size=50)
    area = roc_auc_score(np.arange(120) < 70, np.concatenate([values, others]))
    assert Estimate.exceedance(values, others).value == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(2.0, 0.577, "2.00 ± 0.58"), (1234.5678, 0.0, "1235"), (0.5, math.nan, "0.5 ± nan"), (-3.14159, 12.0, "-3 ± 12")],
)
def test_an_estimate_is_rounded_to_its_error(value, error, text):
    assert str(Estimate(value, error)) == text


def test_many_estimates_show_their_mean_and_range():
    estimates = Estimates(np.array([2.0, 5.0]), np.array([0.3, 0.4]))
    assert str(estimates) == "3.50 ± 0.25 on average, 2 to 5"
    assert str(Estimates(np.array(2.0), np.array(0.3))) == "2.00 ± 0.3"


def test_numbers_that_json_lacks_are_none():
    assert [finite_or_none(value) for value in (1.5, math.inf, -math.inf, math.nan)] == [1.5, None, None, None]
