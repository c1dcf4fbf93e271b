"""Data that the model makes, and the prior as a guide, against closed forms."""

import math

import numpy as np
import pytest
import torch

from pyrogen.diagnostics import diagnose, prior_elbo, simulated_data
from pyrogen.inference import log_weights
from pyrogen.models import Autoencoder, ConditionalVAE, Diffusion
from tests.helpers.linear_gaussian import ppca, untrained
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture


def test_the_elbo_of_the_prior(seed):
    """E log N(x; Wz + mu, s2) under z ~ N(0, I) is -(D log 2 pi s2 + (|x - mu|^2 + tr WW') / s2) / 2."""
    story = ppca()
    x = story.sample(30).detach()
    found = prior_elbo(story, x, 4000, seed=seed)
    with torch.no_grad():
        s2 = (2 * story.log_sigma).exp()
        square = (x - story.mean).square().sum(1) + story.weight.square().sum()
        exact = -(5 * (math.log(2 * math.pi) + s2.log()) + square / s2) / 2
    assert_within(found.value, exact, found.error)


def test_of_a_guide_that_is_the_prior_it_is_the_elbo(seed, monkeypatch):
    monkeypatch.setattr(
        "pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 40
    )  # a few rows, a few draws at a time
    story = untrained(ppca())
    with torch.no_grad():
        story.encoder.weight.zero_()
        story.encoder.bias.zero_()
    x = story.sample(12).detach()
    found, elbo = prior_elbo(story, x, 1000, seed=seed), log_weights(story, x, 1000, seed=seed + 1)
    error = elbo.std(0).numpy() / math.sqrt(1000)
    assert_within(found.value, elbo.mean(0), np.hypot(found.error, error))


@pytest.mark.parametrize("story", [Location(), Mixture()], ids=["shared", "summed out"])
def test_no_prior_elbo_where_no_datum_has_one(story):
    with pytest.raises(ValueError, match="latent"):
        prior_elbo(story, torch.randn(5))


def test_simulated_data_are_the_models(seed):
    story = ppca()
    made = simulated_data(story, story.sample(10).detach(), 2000, seed=seed)
    x = next(iter(made.columns.values()))
    assert (made.n, x.shape) == (2000, (2000, 5))
    covariance = (story.weight @ story.weight.T + (2 * story.log_sigma).exp() * torch.eye(5)).detach()
    sd = covariance.diagonal().sqrt()
    assert_within(x.mean(0), story.mean.detach(), sd / math.sqrt(2000))
    assert_within(x.var(0), sd**2, sd**2 * math.sqrt(2 / 2000))
    again = simulated_data(story, story.sample(10).detach(), 2000, seed=seed)
    assert torch.equal(x, next(iter(again.columns.values())))


def test_columns_that_are_conditioned_on_are_the_datas():
    story = ConditionalVAE((1, 4, 4), classes=3, latent=2, hidden=(8,))
    made = simulated_data(story, {"x": torch.rand(6, 1, 4, 4).round(), "y": torch.full((6,), 2)}, 9)
    assert made.columns["y"].tolist() == [2] * 9
    assert set(made.columns["x"].unique().tolist()) <= {0.0, 1.0}


def test_slow_models_are_cut_short_and_autoencoders_refused():
    story = ppca()
    assert simulated_data(story, story.sample(10).detach(), 500, seconds=0).n == 5
    with pytest.raises(ValueError, match="Autoencoder"):
        simulated_data(Autoencoder((1, 4, 4), latent=2, hidden=(8,)), torch.rand(5, 1, 4, 4), 5)


def test_a_model_that_draws_other_sites_than_it_is_guided_by_is_refused_and_examined_without():
    """One level of a diffusion: drawing from it goes down the chain, by no site."""
    story, x = Diffusion(2, 6, hidden=(4,)), torch.randn(40, 2)
    story.prepare({"x": x})
    with pytest.raises(ValueError, match=r"^the model draws no 'z1' where it observes nothing: its prior"):
        prior_elbo(story, x, 4)
    assert "prior_elbo" in diagnose(story, x, budget="quick").skipped
