"""Leave-one-out densities in closed form, and the two ways that are wrong."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyrogen import fit
from pyrogen.diagnostics import loo, to_datatree
from pyrogen.models import VAE
from tests.helpers.linear_gaussian import ppca, scaled
from tests.helpers.shared_latents import location
from tests.helpers.statistics import assert_within
from tests.helpers.stories import coin_guide, coin_model, schools, schools_model


def exact_loo(x):
    """Log p(x_i | x_-i) for N(mu, 1) data under mu ~ N(0, 100)."""
    variance = 1 / (len(x) - 1 + 0.01)
    return dist.Normal((x.sum() - x) * variance, math.sqrt(1 + variance)).log_prob(x).double().numpy()


@pytest.mark.parametrize("c", [1.0, 2.0])
def test_draws_of_shared_latents_are_weighted(c, seed):
    import arviz_stats

    x, samples = torch.randn(40), 1000
    run, exact = location(x, c), exact_loo(x)
    found = loo(run, x, samples, seed=seed)
    assert isinstance(found, arviz_stats.ELPDData)
    assert (found.kind, found.approx_posterior, found.warning) == ("loo", True, False)
    assert abs(found.elpd - exact.sum()) < 0.1
    np.testing.assert_allclose(found.elpd_i, exact, atol=0.02)
    posterior = dist.Normal(x.sum() / 40.01, math.sqrt(1 + 1 / 40.01))
    assert found.p == pytest.approx(float(posterior.log_prob(x).sum()) - exact.sum(), abs=0.1)
    assert found.se == pytest.approx(float(found.elpd_i.std()) * math.sqrt(40))
    tree = to_datatree(run, x, samples, seed=seed, groups=["posterior", "log_likelihood", "sample_stats"])
    stats = tree["sample_stats"]
    if c == 2.0:
        theirs = arviz_stats.loo_approximate_posterior(tree, stats["lp"], stats["log_q"], pointwise=True)
        np.testing.assert_allclose(found.elpd_i, theirs.elpd_i.values, atol=1e-4)
        np.testing.assert_allclose(found.pareto_k, theirs.pareto_k.values, atol=0.02)
        assert (found.good_k, found.n_samples) == (pytest.approx(theirs.good_k), theirs.n_samples)
        plain = arviz_stats.loo(tree, pointwise=True)
        assert plain.pareto_k.max() < 0.5  # which looks good
        assert plain.elpd < exact.sum() - 1  # and is wrong


def test_plain_loo_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="plain leave-one-out is refused: it assumes draws from the posterior"):
        loo(location(torch.randn(9), 1.0), torch.randn(9), kind="plain")


def test_the_conditional_one_would_be_wrong_and_is_refused(seed):
    story = ppca(sigma=0.3)
    x = story.sample(40)
    with pytest.raises(ValueError, match="conditional leave-one-out is refused: given its own latents"):
        loo(story, x, kind="conditional")
    tree = to_datatree(story, x, 1000, seed=seed)
    log_likelihood = tree["log_likelihood"]["x"].values[0]
    harmonic = -(np.logaddexp.reduce(-log_likelihood, 0) - math.log(1000))
    exact = story.log_prob(x).detach().numpy()
    assert harmonic.sum() > exact.sum() + 20
    assert "harmonic mean" in tree["log_likelihood"].attrs["about"]
    found = loo(story, x, seed=seed)
    assert not found.approx_posterior
    np.testing.assert_allclose(found.elpd_i, exact, atol=1e-10)
    assert np.isneginf(found.pareto_k).all()
    assert not found.warning
    assert "elpd_loo" in str(found)


def test_without_an_exact_likelihood_the_marginal_one_is_weighted(monkeypatch, seed):
    story = scaled(ppca(), 1.2)
    x = story.sample(30)
    exact = story.log_prob(x).detach()
    monkeypatch.delattr(type(story), "log_prob")
    found = loo(story, x, 2000, seed=seed)
    assert_within(float(found.elpd_i.mean()), exact.mean(), 0.02 / 4.27)
    assert found.pareto_k.shape == (30,)
    assert np.isfinite(found.pareto_k).all()


def test_latents_shared_and_not_leave_nothing_out():
    from pyro.infer.autoguide import AutoNormal

    run = fit((schools_model, AutoNormal(schools_model)), schools(), steps=1, progress=False)
    with pytest.raises(ValueError, match="latent 'theta' belongs to a datum, and others to all"):
        loo(run, schools())


def test_the_kind_must_be_right():
    x = torch.rand(5, 1, 4, 4).round()
    with pytest.raises(ValueError, match="kind='approximate posterior' is not for this story: pass 'marginal'"):
        loo(VAE((1, 4, 4), 2), x, kind="approximate posterior")


def test_a_coin_is_left_out_in_one_line(seed):
    flips = torch.tensor([1.0] * 6 + [0.0] * 4)
    run = fit((coin_model, coin_guide), {"flips": flips}, steps=1, progress=False)
    found = loo(run, flips, 500, seed=seed)
    exact = np.log(np.where(flips.numpy() == 1, 7 / 13, 5 / 13))
    np.testing.assert_allclose(found.elpd_i, exact, atol=0.05)
