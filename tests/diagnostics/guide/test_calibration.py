"""Ranks, coverage and TARP for guides that are right, and wrong by a known amount."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm
from torch import nn

from pyrogen import Story
from pyrogen.diagnostics import check_calibration
from pyrogen.models import ConditionalVAE
from tests.helpers.linear_gaussian import ppca, scaled, shifted
from tests.helpers.statistics import assert_frequencies, assert_within
from tests.helpers.stories import Location, Mixture


def test_an_exact_guide_is_calibrated(seed):
    story = ppca()
    found = check_calibration(story, story.sample(10), simulations=2000, seed=seed)
    assert found.p_value > 1e-3
    assert found.ranks["z"].shape == (2000, 2)
    assert_frequencies(np.bincount(found.ranks["z"][:, 0] // 10, minlength=10), np.full(10, 0.1))
    for estimates in (found.coverage([0.5, 0.8])["z"], found.tarp_coverage([0.5, 0.8])):
        exact = torch.tensor([0.5, 0.8]).double()
        assert_within(estimates.value.T, exact, estimates.error.T)
    assert "on 2000 simulated data; coverage of 80 % intervals: z " in str(found)


@pytest.mark.parametrize(("c", "exact"), [(0.6, 0.5581), (1.0, 0.8), (1.5, 0.9454)])
def test_a_guide_of_the_wrong_width_covers_as_much_as_it_must(c, exact, seed):
    story = scaled(ppca(), c)
    found = check_calibration(story, story.sample(10), simulations=3000, draws=199, seed=seed)
    coverage = found.coverage([0.8])["z"]
    assert 2 * norm.cdf(c * norm.ppf(0.9)) - 1 == pytest.approx(exact, abs=1e-4)
    # With 199 draws in place of a distribution function, coverage is off by less than 1/200.
    assert_within(coverage.value, exact, np.hypot(coverage.error, 1 / 200 / 4.27))
    # The distribution function of the probability integral transform is Phi(c Phi^-1(t)).
    for t in (0.1, 0.3):
        below = (found.ranks["z"][:, 0] < 200 * t).mean()
        assert_within(below, norm.cdf(c * norm.ppf(t)), math.hypot(0.5 / math.sqrt(3000), 1 / 200 / 4.27))
    assert (found.p_value > 1e-3) == (found.tarp_p_value > 1e-4) == (c == 1.0)


def test_a_shifted_guide_is_detected(seed):
    story = ppca()
    with torch.no_grad():
        story.encoder.bias.add_(0.3)
    found = check_calibration(story, story.sample(10), simulations=1000, seed=seed)
    assert (found.p_values["z"] < 1e-4).all()
    assert found.ranks["z"].mean() < 45


def test_a_guide_that_is_the_prior_is_not_detected(seed):
    story = ppca()
    with torch.no_grad():
        story.encoder.weight.zero_()
        story.encoder.bias.zero_()
        story.raw_scale.zero_()
    found = check_calibration(story, story.sample(10), simulations=1000, seed=seed)
    assert found.p_value > 1e-3
    assert found.tarp_p_value > 1e-4


def test_mean_field_is_calibrated_by_dimension_alone(seed):
    """Too narrow in every direction but one: TARP, of all latents together, detects it, as ranks by dimension do."""
    story = ppca("meanfield")
    found = check_calibration(story, story.sample(10), simulations=2000, seed=seed)
    assert found.p_value < 1e-3
    coverage = found.coverage([0.8])["z"]
    exact_sd = story.exact_posterior(torch.zeros(5).double()).stddev.detach()
    ratio = (story.raw_scale.exp() / exact_sd).detach().numpy()
    assert_within(coverage.value[0], 2 * norm.cdf(ratio * norm.ppf(0.9)) - 1, np.hypot(coverage.error[0], 0.01 / 4.27))


class Coins(Story):
    """A discrete latent, given a column that model and guide condition on, under an exact guide."""

    def model(self, x, odds, n):
        with pyro.plate("data", n):
            k = pyro.sample("k", dist.Bernoulli(odds))
            return pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    def guide(self, x, odds, n):
        with pyro.plate("data", n):
            log_odds = torch.logit(odds) + x - 0.5
            pyro.sample("k", dist.Bernoulli(logits=log_odds))


def test_discrete_latents_and_conditioned_columns(seed):
    data = {"x": torch.randn(30), "odds": torch.linspace(0.1, 0.9, 30)}
    found = check_calibration(Coins(), data, simulations=2000, draws=19, seed=seed)
    assert found.p_value > 1e-3
    assert_frequencies(np.bincount(found.ranks["k"], minlength=20), np.full(20, 0.05))
    swapped = check_calibration(Coins(), {**data, "odds": 1 - data["odds"]}, simulations=2000, draws=19, seed=seed)
    assert swapped.p_value > 1e-3  # the guide conditions on the same column as the model
    state = torch.get_rng_state()
    again = check_calibration(Coins(), data, simulations=2000, draws=19, seed=seed)
    assert np.array_equal(again.ranks["k"], found.ranks["k"])
    assert torch.equal(torch.get_rng_state(), state)


def test_simulations_go_a_few_at_a_time(monkeypatch, seed):
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 9 * 20)
    story = ConditionalVAE((1, 4, 4), classes=3, latent=2, hidden=(8,))
    data = {"x": torch.rand(7, 1, 4, 4).round(), "y": torch.tensor([0, 1, 2, 0, 1, 2, 0])}
    found = check_calibration(story, data, simulations=50, draws=9, seed=seed)
    assert found.ranks["z"].shape == (50, 2)
    assert found.tarp.max() <= 9


def test_where_calibration_would_take_refits_the_reason_is_given():
    with pytest.raises(ValueError, match="Location: its guide is not amortized"):
        check_calibration(Location(), torch.randn(5))
    with pytest.raises(ValueError, match="Mixture: its guide draws no latents"):
        check_calibration(Mixture(), torch.randn(5))

    class Halved(Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(self.loc, 1.0))
                pyro.sample("half", dist.Normal(z, 1.0), obs=None if x is None else x / 2)

        def guide(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match="site 'half' observes no column of the data as it is"):
        check_calibration(Halved(), torch.randn(5))
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 9"):
        check_calibration(ppca(), torch.randn(5, 5).double(), simulations=0, draws=9)


def test_dependence_is_the_correlation_that_the_guide_misses(seed):
    """Of a guide with the posterior's standard deviations and no correlations, scores have the posterior's."""
    story = ppca("meanfield")
    exact = story.exact_posterior(torch.zeros(5).double())
    with torch.no_grad():
        story.raw_scale.copy_(exact.stddev.log())
    found = check_calibration(story, story.sample(10), simulations=2000, draws=199, seed=seed).dependence
    covariance = exact.covariance_matrix.detach()
    correlation = covariance[0, 1] / covariance.diagonal().prod().sqrt()
    assert_within(found.value[0, 1], correlation, np.hypot(found.error[0, 1], 0.01 / 4.27))
    np.testing.assert_allclose(found.value, found.value.T)


@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
def test_a_guide_with_the_right_correlations_misses_none_whatever_its_width(c, seed):
    story = scaled(ppca(), c)
    with torch.no_grad():
        story.encoder.bias.add_(0.5)
    found = check_calibration(story, story.sample(10), simulations=2000, seed=seed)
    assert_within(found.dependence.value[0, 1], 0.0, np.hypot(found.dependence.error[0, 1], 0.03 / 4.27))


def test_the_shift_is_in_standard_deviations(seed):
    story = shifted(ppca(), 0.5)
    found = check_calibration(story, story.sample(10), simulations=2000, draws=199, seed=seed).shift["z"]
    assert_within(found.value, -0.5, np.hypot(found.error, 0.01 / 4.27))
