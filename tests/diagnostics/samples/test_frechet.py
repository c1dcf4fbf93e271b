import math

import pytest
import torch

from pyrogen.diagnostics import frechet_distance
from tests.helpers.statistics import assert_within


def with_moments(n, mean, covariance):
    """Points (n, d) that have these very moments."""
    x = torch.randn(n, len(mean), dtype=torch.float64)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False).T
    return mean + white @ torch.linalg.cholesky(covariance).T


def wasserstein(m1, s1, m2, s2):
    """W2 squared of two Gaussians, by roots of symmetric matrices."""
    root = root_of(s1)
    return float((m1 - m2).square().sum() + (s1 + s2 - 2 * root_of(root @ s2 @ root)).trace())


def root_of(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.sqrt().diag() @ vectors.T


def covariance(d):
    a = torch.randn(d, d, dtype=torch.float64)
    return a @ a.T / d + 0.1 * torch.eye(d, dtype=torch.float64)


def test_gaussians_are_as_far_apart_as_wasserstein_says():
    m1, m2 = torch.randn(2, 5, dtype=torch.float64)
    s1, s2 = covariance(5), covariance(5)
    found = frechet_distance(with_moments(300, m1, s1), with_moments(200, m2, s2)).value
    assert found == pytest.approx(wasserstein(m1, s1, m2, s2), rel=1e-8)


def test_far_from_the_origin_no_digits_are_lost():
    x, y = (with_moments(100, torch.full((3,), scale), scale**2 * torch.eye(3).double()) for scale in (1.0, 2.0))
    assert frechet_distance(x + 1e6, y + 1e6).value == pytest.approx(6, rel=1e-6)


def test_constant_features_add_nothing():
    x, y = torch.randn(200, 2), torch.randn(200, 2) + 1
    padded = [torch.cat([part, torch.ones(200, 3)], 1) for part in (x, y)]
    assert frechet_distance(*padded).value == pytest.approx(frechet_distance(x, y).value, rel=1e-5)


def test_the_jackknife_knows_how_far_chance_moves_the_distance():
    """Of N(0, 1) and N(3, 1) the distance (m1 - m2)^2 + (s1 - s2)^2 has variance 4 * 9 * (1/n + 1/N) to first order."""
    found = [frechet_distance(torch.randn(400, 1) + 3, torch.randn(800, 1)) for _ in range(60)]
    exact = 6 * math.sqrt(1 / 400 + 1 / 800)
    errors = torch.tensor([estimate.error for estimate in found])
    assert_within(errors.square().mean().sqrt(), exact, errors.std() / math.sqrt(60), what="error")
    values = torch.tensor([estimate.value for estimate in found])
    assert_within(values.mean(), 9, exact / math.sqrt(60), what="mean")
    assert_within(values.std(), exact, exact / math.sqrt(2 * 59), what="spread")


def test_what_does_not_compare_is_refused():
    x = torch.randn(100, 2)
    with pytest.raises(ValueError, match="samples have 2 features and data 3"):
        frechet_distance(x, torch.randn(100, 3))
    with pytest.raises(ValueError, match="data: at least 40 rows are needed, got 39"):
        frechet_distance(x, x[:39])
    with pytest.raises(ValueError, match=r"expected features \(n, d\), got \(100, 1, 2\)"):
        frechet_distance(x[:, None], x)
    with pytest.raises(ValueError, match="samples: 1 of 100 rows are not finite"):
        frechet_distance(torch.where(torch.arange(100)[:, None] == 3, torch.nan, x), x)
