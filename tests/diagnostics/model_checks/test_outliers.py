"""Outlier scores of pPCA in closed form, the mode's among them, and the area under the ROC curve."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pyrogen.diagnostics import outlier_scores, roc_auc
from tests.helpers.linear_gaussian import ppca
from tests.helpers.statistics import assert_within


def test_log_likelihoods_have_their_exact_moments(seed):
    story = ppca()
    x = story.sample(4000)
    found = outlier_scores(story, x, story.sample(1000), seed=seed)
    covariance = (story.weight @ story.weight.T).detach() + (2 * story.log_sigma).exp().detach() * torch.eye(5)
    mean, variance = -torch.logdet(2 * math.pi * math.e * covariance) / 2, 5 / 2
    assert_within(found.log_likelihood.mean(), mean, math.sqrt(variance / 4000))
    # -2 log p + const is chi-square with D degrees of freedom: kurtosis 3 + 12 / D.
    assert_within(found.log_likelihood.var(), variance, variance * math.sqrt((2 + 12 / 5) / 4000))
    assert_within((found.p_value <= 0.1).mean(), 0.1, math.sqrt(0.09 / 4000 + 0.09 / 1000))
    assert str(found).endswith("of 4000 data are less typical than 99 % of the reference's")


def test_the_mode_is_the_least_unusual_by_raw_likelihood_and_not_typical(seed):
    story = ppca(latent=3)
    mode = story.mean.detach().expand(50, 5)
    reference = story.sample(2000)
    found = outlier_scores(story, mode, reference, seed=seed)
    typical = outlier_scores(story, story.sample(500), reference, seed=seed)
    assert_within(found.typicality[0], math.sqrt(5 / 2), math.sqrt((1 + (2 + 12 / 5) / 4 * 5 / 2) / 2000))
    assert roc_auc(found.raw, typical.raw).value == 0
    assert roc_auc(found.typicality, typical.typicality).value > 0.8


def test_far_data_are_found_by_both(seed):
    story = ppca()
    reference = story.sample(500)
    far = outlier_scores(story, story.sample(100) + 10, reference, seed=seed)
    near = outlier_scores(story, story.sample(300), reference, seed=seed)
    for score in ("raw", "typicality"):
        assert roc_auc(getattr(far, score), getattr(near, score)).value == 1.0
    np.testing.assert_allclose(far.p_value, 1 / 501)


def test_the_importance_weighted_likelihood_agrees_with_the_exact_one(seed):
    story = ppca("meanfield")
    x, reference = story.sample(40), story.sample(40)
    weighed = outlier_scores(story, x, reference, 2000, seed=seed, exact=False)
    exact = outlier_scores(story, x, reference)
    assert np.abs(weighed.log_likelihood - exact.log_likelihood).max() < 0.2
    assert not np.array_equal(weighed.log_likelihood, exact.log_likelihood)
    with pytest.raises(ValueError, match="reference: expected at least two data, got 1"):
        outlier_scores(story, x, reference[:1])


def test_the_area_under_the_curve_of_two_normals(seed):
    rng, found = np.random.default_rng(seed), []
    for _ in range(400):
        found.append(roc_auc(1 + rng.normal(size=80), rng.normal(size=120)))
    value, error = (np.array(figures) for figures in zip(*found, strict=True))
    assert_within(value.mean(), norm.cdf(1 / math.sqrt(2)), value.std() / 20)
    # The standard errors are those of the estimates, to the accuracy of 400 of these.
    assert_within(np.sqrt((error**2).mean()), value.std(), value.std() * math.sqrt(1 / 800) + error.std() / 20)


def test_ties_count_half():
    assert roc_auc(np.array([1.0, 1.0]), np.array([1.0, 1.0])).value == 0.5
    with pytest.raises(ValueError, match="at least two scores of each kind, got 1 and 3"):
        roc_auc(np.ones(1), np.ones(3))
