"""Synthetic data sets against independent computations of their densities."""

import numpy as np
import torch
from scipy.stats import multivariate_normal

from pyrogen.data import load
from tests.helpers.statistics import assert_within


def test_linear_gaussian_log_prob_is_scipys():
    splits = load("linear_gaussian")
    truth = splits.truth
    assert (splits.train.rows, splits.validation.rows, splits.test.rows) == (7_000, 1_000, 2_000)
    assert truth.W.shape == (8, 3)
    W, mu, sigma2 = truth.W.numpy(), truth.mu.numpy(), truth.sigma2.item()
    x = splits.test["x"].double().numpy()
    expected = multivariate_normal(mu, W @ W.T + sigma2 * np.eye(8)).logpdf(x)
    np.testing.assert_allclose(truth.test_log_prob.numpy(), expected, rtol=1e-10)
    assert torch.equal(truth.log_prob(splits.test["x"]), truth.test_log_prob)


def test_linear_gaussian_rows_come_from_the_planted_model():
    splits = load("linear-gaussian")
    truth, x = splits.truth, splits.train["x"].double()
    covariance = truth.W @ truth.W.T + truth.sigma2 * torch.eye(8)
    # The squared Mahalanobis distance is chi-squared with 8 degrees of freedom: mean 8, variance 16.
    centred = x - truth.mu
    distance = (centred * torch.linalg.solve(covariance, centred.T).T).sum(1)
    assert_within(distance.mean(), 8, (16 / 7_000) ** 0.5)
    # Hence the mean log density is minus the entropy.
    entropy = 0.5 * (8 * (1 + np.log(2 * np.pi)) + torch.logdet(covariance))
    assert_within(truth.test_log_prob.mean(), -entropy, (4 / 2_000) ** 0.5)


def test_ring_log_prob_is_the_mixture_formula():
    splits = load("ring")
    x = splits.test["x"].double().numpy()
    angle = np.arange(8) * np.pi / 4
    means = 2 * np.column_stack([np.cos(angle), np.sin(angle)])
    density = sum(multivariate_normal(mean, 0.05**2).pdf(x) for mean in means) / 8
    np.testing.assert_allclose(splits.truth.test_log_prob.numpy(), np.log(density), rtol=1e-9)
    np.testing.assert_allclose(splits.truth.means.numpy(), means, atol=1e-12)


def test_ring_labels_name_the_component():
    splits = load("ring")
    assert (splits.classes, splits.levels, splits.event_shape) == (8, None, (2,))
    distance = torch.cdist(splits.train["x"].double(), splits.truth.means)
    assert torch.equal(distance.argmin(1), splits.train["y"])
    count = splits.train["y"].bincount(minlength=8)
    assert_within(count, 875, (7_000 * 7 / 64) ** 0.5)


def test_synthetic_data_do_not_depend_on_the_seed_or_torchs_random_state():
    first = load("ring")
    torch.manual_seed(5)
    assert torch.equal(first.train["x"], load("ring", seed=3).train["x"])
