"""Guide and posterior of latents that data share, with known shift, width and correlation; weighted expectations."""

import math

import numpy as np
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrogen.diagnostics import corrected_expectations, shared_moments
from pyrogen.inference import NoWeights
from tests.helpers.linear_gaussian import ppca, scaled
from tests.helpers.shared_latents import line, location
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


def test_weighted_draws_have_the_posteriors_moments(seed):
    story = scaled(ppca("meanfield"), 1.2)
    x, samples = story.sample(40), 2000
    exact = story.exact_posterior(x)
    functions = {"mean": lambda draws: draws["z"], "product": lambda draws: draws["z"].prod(-1)}
    found = corrected_expectations(story, x, functions, samples, seed=seed)
    covariance = exact.covariance_matrix[0, 0, 1].detach()
    off_diagonal = {
        which: (getattr(found["product"], which).value - exact.mean.detach().prod(-1).numpy())
        for which in ("guide", "corrected")
    }
    assert abs(covariance) > 0.05
    assert_within(off_diagonal["corrected"].mean(), covariance, found["product"].corrected.mean().error)
    assert_within(off_diagonal["guide"].mean(), 0.0, found["product"].guide.mean().error)
    assert_within(found["mean"].corrected.value[:3], exact.mean[:3], found["mean"].corrected.error[:3])
    assert found["mean"].corrected.value.shape == (40, 2)
    assert "k-hat above 0.70 for 0.0% of the data" in str(found["mean"])


def test_expectations_go_over_the_data_in_pieces(monkeypatch, seed):
    story = ppca()
    x = story.sample(12)
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 100 * 5)  # 5 rows at a time
    shapes = []

    def squared(draws):
        shapes.append(draws["z"].shape)
        return draws["z"].square()

    found = corrected_expectations(story, x, {"z^2": squared}, 100, seed=seed)["z^2"]
    assert shapes == [(100, 5, 2), (100, 5, 2), (100, 2, 2)]
    exact = story.exact_posterior(x)
    assert_within(found.corrected.value, exact.mean.square() + exact.variance, found.corrected.error)
    with pytest.raises(ValueError, match=r"'sum' gives shape \(\), expected \(100, 5\) and more"):
        corrected_expectations(story, x, {"sum": lambda draws: draws["z"].sum()}, 100)


def test_draws_of_latents_that_data_share_have_no_weights_by_datum():
    x = torch.randn(9)
    with pytest.raises(NoWeights, match="Location: the draws of a datum have no weights of their own"):
        corrected_expectations(location(x, 1.0), x, num_samples=30)
