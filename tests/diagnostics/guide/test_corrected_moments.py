"""Guide and posterior of latents that data share, with known shift, width and correlation."""

import math

import numpy as np
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from tests.diagnostics.test_examination import line
from tests.diagnostics.test_leave_one_out import location

from pyrogen.diagnostics import shared_moments
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Topics


@pytest.mark.parametrize("c", [1.0, 1.6])
def test_width_and_shift(c, seed):
    x = torch.randn(40)
    run = location(x, c)
    with torch.no_grad():
        run.story.guide.locs.mu.add_(0.3 / math.sqrt(40.01))
    found = shared_moments(run, x, 2000, seed=seed)
    assert found.names == ("mu",)
    # The posterior lies 0.3 of its own standard deviations, 0.3 / c of the guide's, below the guide.
    assert_within(found.shift.value, -0.3 / c, np.hypot(found.shift.error, 1 / math.sqrt(2000)))
    assert_within(found.width.value, c - 1, np.hypot(found.width.error, c / math.sqrt(4000)))
    mean, sd = found.corrected
    assert_within(mean, float(x.sum() / 40.01), 0.02 / math.sqrt(40))
    assert_within(sd, 1 / math.sqrt(40.01), 0.02 / math.sqrt(40))


def test_an_exact_guide_has_nothing_to_correct(seed):
    run, data, _ = line(AutoMultivariateNormal, 1 + torch.randn(50))
    found = shared_moments(run, data, 500, seed=seed)
    for estimates in (found.shift, found.width, found.dependence):
        np.testing.assert_allclose(estimates.value, 0, atol=2e-3)
        assert estimates.error.max() < 2e-3
    assert found.names == ("beta[0]", "beta[1]")
    assert "means off by up to" in str(found)


def test_correlations_that_the_guide_lacks(seed):
    run, data, precision = line(AutoNormal, 0.7 + torch.randn(50))
    found = shared_moments(run, data, 2000, seed=seed)
    covariance = torch.linalg.inv(precision)
    correlation = covariance[0, 1] / covariance.diagonal().prod().sqrt()
    assert_within(
        found.dependence.value[0, 1], correlation, np.hypot(found.dependence.error[0, 1], 1 / math.sqrt(2000))
    )
    np.testing.assert_allclose(found.dependence.value, found.dependence.value.T)


def test_latents_of_each_datum_and_other_data_are_refused():
    with pytest.raises(ValueError, match="Topics: no draw has a weight of all latents together"):
        shared_moments(Topics(), torch.poisson(torch.rand(5, 10)), 30)
    with pytest.raises(ValueError, match="pass the training data"):
        shared_moments(location(torch.randn(9), 1.0), torch.randn(4), 30)
