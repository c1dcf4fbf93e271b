"""Predictive checks against exact predictive distributions."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pyrogen import fit
from pyrogen.diagnostics import predictive_check
from tests.helpers.linear_gaussian import ppca
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture, Topics

MEANS = {"means": lambda x: x.mean(0)}


@pytest.fixture
def story():
    return ppca()


def test_the_prior_predictive_is_exact(story, seed):
    x = story.sample(50) + 0.1
    check = predictive_check(story, x, MEANS, 2000, under="prior", seed=seed)["means"]
    covariance = (story.weight @ story.weight.T).detach() + (2 * story.log_sigma).exp().detach() * torch.eye(5)
    z = (x.mean(0) - story.mean.detach()) / (covariance.diagonal() / 50).sqrt()
    exact = norm.sf(z)
    assert_within(check.p_value.value, exact, check.p_value.error)
    np.testing.assert_allclose(check.observed, x.mean(0))
    np.testing.assert_allclose(check.two_sided, 2 * np.minimum(check.p_value.value, 1 - check.p_value.value))


def test_the_posterior_predictive_is_exact(story, seed):
    x = story.sample(50)
    check = predictive_check(story, x, MEANS, 2000, seed=seed)["means"]
    exact = story.exact_posterior(x)
    mean = (exact.mean @ story.weight.T + story.mean).mean(0).detach()
    covariance = story.weight @ exact.covariance_matrix[0] @ story.weight.T + (2 * story.log_sigma).exp() * torch.eye(5)
    spread = (covariance.diagonal() / 50).sqrt().detach()
    assert_within(check.p_value.value, norm.sf((x.mean(0) - mean) / spread), check.p_value.error)
    assert check.replicated.shape == (2000, 5)


def test_data_sets_are_put_together_from_runs_on_some_rows(story, monkeypatch, seed):
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 20)  # 50 rows in three runs
    x = story.sample(50)
    check = predictive_check(
        story, x, {"first and last": lambda x: x[[0, -1]], "rows": lambda x: len(x)}, 40, seed=seed
    )
    mean, error = check["first and last"].replicated.mean(0), check["first and last"].replicated.std(0) / 40**0.5
    exact = story.exact_posterior(x[[0, -1]]).mean @ story.weight.T + story.mean
    assert_within(mean, exact, error * 1.2)  # the error is itself known to a tenth
    assert (check["rows"].replicated == 50).all()


def test_what_a_model_lacks_has_an_extreme_p_value(seed):
    """Counts with more zeros than a Poisson's."""
    story = Topics(words=10, themes=3)
    x = torch.poisson(4 * torch.ones(200, 10)) * torch.bernoulli(torch.full((200, 10), 0.5))
    statistics = {"zeros": lambda x: (x == 0).double().mean(), "size": lambda x: torch.tensor(x.numel())}
    found = predictive_check(fit(story, x, epochs=5, progress=False), x, statistics, 100, seed=seed)
    assert found["zeros"].p_value.value == 0 < found["zeros"].p_value.error
    assert found["size"].p_value.value == 0.5  # ties count half
    assert str(found["zeros"]).endswith("p = 0.0000 ± 0.0099")


def test_data_that_share_latents_are_replicated_together(seed):
    run = fit(Location(), {"x": torch.randn(30) + 3}, steps=2, progress=False)
    check = predictive_check(run, torch.randn(30) + 3, {"mean": torch.mean}, 400, under="prior", seed=seed)["mean"]
    assert_within(check.replicated.mean(), 0.0, np.sqrt((100 + 1 / 30) / 400))


def test_what_cannot_be_replicated_is_refused(story):
    with pytest.raises(ValueError, match="under is 'posterior' or 'prior', got 'data'"):
        predictive_check(story, story.sample(3), MEANS, under="data")
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        predictive_check(story, story.sample(3), MEANS, 0)

    class Declines(Mixture):
        unsupported = {"sample": "for the test"}

    with pytest.raises(ValueError, match="Declines has no sample: for the test"):
        predictive_check(Declines(), torch.randn(3), MEANS)
