"""Statistics of residuals name what is wrong with a model of shared latents, and nothing where nothing is."""

import numpy as np
import pytest

from pyrogen.diagnostics.model_checks.misfit import critical_score, misfits

N, S = 300, 300


def replications(design, y, rng):
    """Linear regression under a flat prior: the posterior predictive distribution, exactly."""
    inverse = np.linalg.inv(design.T @ design)
    mean = inverse @ design.T @ y
    sd = np.sqrt(np.sum((y - design @ mean) ** 2) / rng.chisquare(N - len(mean), S))
    noise = rng.standard_normal((S, len(mean))) @ np.linalg.cholesky(inverse).T
    return (mean + sd[:, None] * noise) @ design.T + sd[:, None] * rng.standard_normal((S, N))


def found(y, x, rng, extra=None):
    columns = {"x": x, **(extra or {})}
    design = np.column_stack([np.ones(N), *columns.values()])
    statistics = misfits(y, replications(design, y, rng), columns)
    far = critical_score(len(statistics))
    return [s for s in statistics if abs(s.score) > far]


PLANTED = {
    "quadratic": (lambda rng, x: 1 + 2 * x**2 + 0.3 * rng.standard_normal(N), {"curvature"}),
    "step": (lambda rng, x: 2.0 * (x > 0) + 0.3 * rng.standard_normal(N), {"trend"}),
    "heavy tails": (lambda rng, x: x + rng.standard_t(1.5, N), {"kurtosis", "skewness"}),
    "skew": (lambda rng, x: x + rng.exponential(1, N), {"skewness"}),
    "spread": (lambda rng, x: x + np.exp(0.7 * x) * rng.standard_normal(N), {"spread", "curvature"}),
    "order": (lambda rng, x: x + np.cumsum(0.3 * rng.standard_normal(N)), {"autocorrelation"}),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("case", range(3))
def test_what_is_planted_is_found_and_named(kind, case):
    rng = np.random.default_rng(case)
    x = rng.standard_normal(N)
    make, names = PLANTED[kind]
    first = found(make(rng, x), x, rng)[0]
    assert first.kind in names, first


@pytest.mark.parametrize("case", range(3))
def test_a_missing_interaction(case):
    rng = np.random.default_rng(case)
    x, w = rng.standard_normal((2, N))
    assert (
        found(x + w + 0.5 * x * w + 0.5 * rng.standard_normal(N), x, rng, {"w": w})[0].name == "interaction of x and w"
    )


@pytest.mark.parametrize("case", range(3))
def test_groups(case):
    rng = np.random.default_rng(case)
    x, group = rng.standard_normal(N), rng.integers(0, 6, N).astype(float)
    shifts = np.array([0, 1, -1, 0.5, -0.5, 0])
    first = found(x + shifts[group.astype(int)] + 0.5 * rng.standard_normal(N), x, rng, {"group": group})[0]
    assert first.name.endswith("group")


def test_the_right_model_is_left_alone():
    """60 data sets: at one alarm in a hundred, three or more are seen once in 50."""
    alarms = 0
    for case in range(60):
        rng = np.random.default_rng(100 + case)
        x = rng.standard_normal(N)
        alarms += bool(found(1 + 2 * x + 0.3 * rng.standard_normal(N), x, rng))
    assert alarms <= 2


@pytest.mark.parametrize(("share", "name"), [(0.3, "share of zeros"), (0.5, "share of zeros")])
def test_zero_inflation_is_said_in_shares(share, name):
    rng = np.random.default_rng(1)
    y = rng.poisson(3.0, N) * (rng.random(N) > share)
    draws = rng.poisson(rng.gamma(y.sum(), 1 / N, S)[:, None], (S, N))
    statistics = misfits(y, draws, kind="count")
    message = next(s for s in statistics if s.name == name).message
    assert f"{(y == 0).mean():.0%} of the data are 0" in message
    assert abs(statistics[0].score) > critical_score(len(statistics))


def test_constant_data_and_covariates():
    statistics = misfits(np.zeros(30), np.zeros((20, 30)), {"x": np.ones(30)})
    assert all(abs(s.score) < 1 for s in statistics)
