"""Bounds, effective draws and Pareto k-hats of each datum, against pPCA's closed forms."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.infer.importance import psis_diagnostic

from pyrogen import fit
from pyrogen.diagnostics import (
    ImportanceWeights,
    importance_weights,
    khat_threshold,
    to_datatree,
)
from pyrogen.diagnostics.guide.pareto_smoothing import pareto_smooth
from pyrogen.models import PPCA
from tests.helpers.linear_gaussian import chi_square, pareto_k, ppca, scaled
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, schools, schools_model


def test_a_tail_of_one_value_has_nothing_to_fit():
    """As discrete latents make it: 60 of 400 draws weigh alike, and more than all others."""
    weights = np.full((400, 2), -1.0)
    weights[:60, 0] = 0.0
    weights[:, 1] = np.random.default_rng(0).normal(size=400)
    khat = ImportanceWeights(weights).khat
    assert khat[0] == -np.inf
    assert np.isfinite(khat[1])


def test_an_exact_guide_has_constant_weights(seed):
    for dtype in (torch.float64, torch.float32):
        story = ppca().to(dtype)
        x = story.sample(30)
        weights = importance_weights(story, x, 200, seed=seed)
        assert np.isneginf(weights.khat).all()
        assert not weights.unreliable.any()
        np.testing.assert_allclose(weights.ess, 200, rtol=1e-4)
        np.testing.assert_allclose(weights.elbo.value, story.log_prob(x).detach(), atol=1e-5)
    assert "above 0.57 for 0.0% of the data" in str(weights)


@pytest.mark.parametrize(("guide", "c"), [("full", 1.2), ("meanfield", 1.2)])
def test_a_gaussian_guide_has_its_closed_forms(guide, c, seed):
    story, samples = scaled(ppca(guide), c), 2000
    x, chi2 = story.sample(100), float(chi_square(story))
    weights = importance_weights(story, x, samples, seed=seed)
    exact, gap = story.log_prob(x).detach(), story.guide_gap(x).detach()
    assert 0.05 < chi2 < 1
    assert_within(weights.elbo.mean().value, (exact - gap).mean(), weights.elbo.mean().error, what="ELBO")
    found = weights.log_likelihood.mean()
    assert_within(found.value, exact.mean(), found.error, what="log p")
    # The bias of L_k is chi-square / (2k) up to O(1 / k^2).
    bound = weights.bound(100)
    assert_within(bound.mean().value, exact.mean() - chi2 / 200, math.hypot(bound.mean().error, chi2 / 1e4), what="L_k")
    share = weights.ess / samples
    assert_within(share.mean(), 1 / (1 + chi2), share.std() / 10, what="effective share of the draws")


@pytest.mark.parametrize(("guide", "c"), [("full", 0.825), ("full", 0.585), ("meanfield", 1.0)])
def test_k_hat_is_that_of_the_widest_direction(guide, c, seed):
    story = scaled(ppca(guide), c)
    weights = importance_weights(story, story.sample(200), 1000, seed=seed)
    exact = float(pareto_k(story))
    assert 0.25 < exact < 0.7
    assert abs(weights.khat.mean() - exact) < 0.1  # of one datum the standard deviation is .08 to .09
    assert weights.khat.shape == (200,)


def test_the_k_hat_of_all_data_together_holds_for_none(seed):
    """Pyro's diagnostic gives one for the product of all weights, and the bound of all data is as loose."""
    story = scaled(ppca(), 0.585)
    x = story.sample(200)
    weights = importance_weights(story, x, 1000, seed=seed)
    pyro.set_rng_seed(seed)
    joint = psis_diagnostic(story.model, story.guide, x, 200, num_particles=1000, max_plate_nesting=1)
    assert joint > 1.5 > weights.khat.max()
    together = ImportanceWeights(weights.log_weights.sum(1, keepdims=True))
    assert together.log_likelihood.value[0] < weights.log_likelihood.sum().value - 20
    assert together.unreliable.all()


def test_the_sign_of_the_weights_is_right(seed):
    story = scaled(ppca(), 0.5)
    weights = importance_weights(story, story.sample(100), 1000, seed=seed)
    assert float(pareto_k(story)) == pytest.approx(0.75)
    assert 0.6 < weights.khat.mean() < 0.8
    assert pareto_smooth(-weights.log_weights)[1].mean() < 0  # what the wrong sign would say: nothing is wrong


def test_weights_without_a_tail_are_handled_apart():
    rng = np.random.default_rng(0)
    plain = rng.normal(size=400)
    zeros = np.where(np.arange(400) < 100, -np.inf, plain)
    few = np.where(np.arange(400) < 3, 0.0, -2000.0 - plain)
    two_values = np.where(np.arange(400) < 200, 0.0, -1.0)
    log_weights = np.stack([np.zeros(400), two_values, few, np.full(400, -np.inf), zeros, plain], 1)
    found, khat = pareto_smooth(log_weights)
    assert khat[:4].tolist() == [-np.inf, -np.inf, np.inf, np.inf]
    assert np.isfinite(khat[4:]).all()
    np.testing.assert_allclose(np.exp(found[:, [0, 1, 2, 4, 5]]).sum(0), 1.0)
    np.testing.assert_allclose(found[:, 0], -math.log(400))
    ties = np.concatenate([rng.normal(size=320), np.full(40, 5.0), 6 + rng.random(40)])[:, None]
    assert np.isnan(pareto_smooth(ties)[1]).all()
    assert np.isnan(pareto_smooth(log_weights[:24])[1]).all()
    assert ImportanceWeights(log_weights[:24]).unreliable.all()


def test_bounds_at_several_k(seed):
    rng = np.random.default_rng(seed)
    log_weights = rng.normal(size=(1000, 3))  # E w = e^1/2
    weights = ImportanceWeights(log_weights)
    np.testing.assert_allclose(weights.bound(1).value, weights.elbo.value)
    np.testing.assert_allclose(weights.bound(1).error, weights.elbo.error)
    np.testing.assert_allclose(weights.bound(1000).value, weights.log_likelihood.value)
    two = rng.normal(size=(400_000, 2))
    exact = np.log(np.exp(two).mean(1))
    assert_within(weights.bound(2).value, exact.mean(), np.hypot(weights.bound(2).error, exact.std() / 632))
    assert_within(weights.log_likelihood.value, 0.5, weights.log_likelihood.error)
    for k in (0, 1001):
        with pytest.raises(ValueError, match=f"k must be from 1 to the 1000 draws that there are, got {k}"):
            weights.bound(k)
    with pytest.raises(ValueError, match=r"expected \(draws, data\), got shape \(5,\)"):
        ImportanceWeights(np.zeros(5))


def test_thresholds():
    assert khat_threshold(10**4) == 0.7
    assert khat_threshold(100) == 0.5
    assert khat_threshold(1) == -math.inf


def test_the_summary_of_a_tree_has_k_hats(seed):
    story = scaled(ppca(), 0.825)
    tree = to_datatree(story, story.sample(100), 600, seed=seed, groups=["importance_summary"])
    assert abs(float(tree["importance_summary"]["khat"].mean()) - float(pareto_k(story))) < 0.1


def test_latents_that_data_share_have_one_posterior(seed):
    x = torch.randn(50) + 2
    run = fit(Location(), {"x": x}, steps=2, batch_size=10, progress=False)
    weights = importance_weights(run, x, 400, seed=seed)
    assert weights.khat.shape == (1,)
    exact = dist.MultivariateNormal(torch.zeros(50), torch.eye(50) + 100).log_prob(x)
    exact_mean, exact_sd = x.sum() / (50 + 0.01), (50 + 0.01) ** -0.5
    guide = run.story.guide
    with torch.no_grad():
        guide.locs.mu.copy_(exact_mean)
        guide.scales.mu = torch.tensor(1.3 * exact_sd)
    weights = importance_weights(run, x, 400, seed=seed)
    assert_within(weights.log_likelihood.value, exact, weights.log_likelihood.error)
    with pytest.raises(ValueError, match="the 50 rows of the training data, got 7 rows: pass the training data"):
        importance_weights(run, x[:7], 400)


@pytest.mark.parametrize(("guide", "fine"), [(AutoNormal, False), (AutoMultivariateNormal, True)])
def test_k_hat_distinguishes_the_guides_of_a_correlated_posterior(guide, fine, seed):
    def line(t, y=None):
        a = pyro.sample("a", dist.Normal(0.0, 10.0))
        b = pyro.sample("b", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(t)):
            pyro.sample("y", dist.Normal(a + b * t, 1.0), obs=y)

    t = torch.linspace(4, 6, 30)
    y = 1 + 2 * t + torch.randn(30)
    run = fit((line, guide(line)), {"t": t, "y": y}, steps=1, progress=False)
    precision = torch.stack([torch.ones(30), t]) @ torch.stack([torch.ones(30), t], 1) + 0.01 * torch.eye(2)
    mean = torch.linalg.solve(precision, torch.stack([y.sum(), (t * y).sum()]))
    with torch.no_grad(), run.story.param_store_scope():
        auto = run.story.guide.args[0]
        if guide is AutoNormal:
            for site, m, p in zip(("a", "b"), mean, precision.diagonal(), strict=True):
                setattr(auto.scales, site, p**-0.5)
                getattr(auto.locs, site).copy_(m)
        else:
            auto.loc.copy_(mean)
            scale = torch.linalg.cholesky(torch.linalg.inv(precision))
            auto.scale = scale.diagonal().clone()
            auto.scale_tril = scale / scale.diagonal()[:, None]
    weights = importance_weights(run, {"t": t, "y": y}, 250, seed=seed)
    assert weights.unreliable.tolist() == [not fine]


def test_schools_are_weighted_as_a_whole():
    run = fit((schools_model, AutoNormal(schools_model)), schools(), steps=5, progress=False)
    assert importance_weights(run, schools(), 50).log_weights.shape == (50, 1)


def test_a_single_draw_has_no_errors():
    x = torch.randn(4, 5)
    weights = importance_weights(PPCA(5, 2), x, 1)
    assert np.isnan(weights.elbo.error).all()
    assert np.isnan(weights.khat).all()
    np.testing.assert_allclose(weights.log_likelihood.value, weights.elbo.value)


@pytest.mark.parametrize("k", [0.3, 0.7, 1.4])
def test_k_hat_is_undecided_within_two_errors_of_its_threshold(k, seed):
    """Pareto weights of shape k."""
    u = np.random.default_rng(seed).uniform(size=(4000, 1))
    weights = ImportanceWeights(-k * np.log(u))
    assert float(weights.khat_error[0]) == pytest.approx((1 + weights.khat[0]) / np.sqrt(189), rel=1e-6)
    assert bool(weights.undecided[0]) == (k == 0.7)


def test_k_hat_that_does_not_count_is_not_undecided():
    """A tail of shape .7 that holds 1 % of all weight."""
    u = np.random.default_rng(0).uniform(size=(4000, 1))
    weights = ImportanceWeights(np.log1p(0.01 * (u**-0.7 - 1)))
    assert abs(weights.khat[0] - 0.7) < 2 * weights.khat_error[0]
    assert weights.sufficient[0]
    assert not weights.undecided[0]
