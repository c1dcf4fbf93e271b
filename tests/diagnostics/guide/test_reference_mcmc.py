"""NUTS against exact posteriors."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyrogen import fit
from pyrogen.diagnostics import against_reference, sample_reference
from pyrogen.inference import posterior
from tests.helpers.linear_gaussian import guide_covariance, ppca
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture, coin_guide, coin_model


def test_nuts_draws_the_exact_posterior_and_shows_what_mean_field_lacks(seed):
    story = ppca("meanfield")
    x = story.sample(3)
    reference = sample_reference(story, x, 300, warmup=150, seed=seed)
    exact = story.exact_posterior(x)
    assert all(p.requires_grad for p in story.parameters())
    z = reference.draws["z"]
    assert z.shape == (2, 300, 3, 2)
    assert (np.stack(list(reference.rhat.values())) < 1.05).all()
    sd = exact.stddev.detach()
    effective = torch.from_numpy(reference.ess["z"]).clamp(max=600)
    assert_within(z.mean((0, 1)), exact.mean, sd / effective.sqrt(), what="mean")
    centred = z.reshape(600, 3, 2) - exact.mean.detach().numpy()
    error = math.sqrt((sd[0].square().prod() + exact.covariance_matrix[0, 0, 1].detach() ** 2) / 200)
    assert_within(centred.prod(-1).mean(0), exact.covariance_matrix[:, 0, 1], error, what="covariance")
    found = against_reference(posterior(story, x, 2000, seed=seed), reference)["z"]
    narrow = guide_covariance(story).diagonal().sqrt() / sd[0] - 1
    assert (narrow < -0.05).all()
    assert_within(found.sd.value, narrow, found.sd.error)
    assert_within(found.mean.value, 0.0, found.mean.error)
    assert str(reference).startswith("2 chains of 300 draws of z: R-hat up to 1.0")


def test_a_coin_is_sampled_by_pairs_without_jit(seed):
    flips = torch.tensor([1.0] * 6 + [0.0] * 4)
    run = fit((coin_model, coin_guide), {"flips": flips}, steps=1, progress=False)
    reference = sample_reference(run, flips, 100, warmup=50, chains=1, jit=False, seed=seed)
    exact = dist.Beta(8.0, 6.0)
    p = reference.draws["p"]
    assert_within(p.mean(), exact.mean, exact.stddev / math.sqrt(float(reference.ess["p"])))
    with pytest.raises(
        ValueError, match="data share 'p', whose posterior is given the 10 rows of the training data, got 3"
    ):
        sample_reference(run, flips[:3])


def test_a_subsampled_plate_counts_every_datum_once(seed):
    x = torch.randn(30)
    run = fit(Location(), {"x": x}, steps=1, batch_size=10, progress=False)
    mu = sample_reference(run, x, 200, warmup=100, chains=1, seed=seed).draws["mu"]
    assert_within(mu.std(), 30**-0.5, 30**-0.5 / math.sqrt(2 * 60))


def test_a_model_without_latents_is_refused():
    class Bare(Mixture):
        def model(self, x, n):
            pass

    with pytest.raises(ValueError, match="Bare has no latents to sample"):
        sample_reference(Bare(), torch.zeros(3))
