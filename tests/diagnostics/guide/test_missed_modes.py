"""Modes that a guide never visits, by draws from the prior."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrogen import Story
from pyrogen.diagnostics import diagnose, importance_weights
from pyrogen.diagnostics.core.estimates import Estimates
from pyrogen.diagnostics.guide.missed_modes import MissedModes, missed_modes, prior_log_likelihoods


class Absolute(Story):
    """x ~ N(z, .3), or N(|z|, .3) where c is 1: the guide is the posterior, or its upper mode."""

    def model(self, x, c, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(n), 1.0))
            return pyro.sample("x", dist.Normal(torch.where(c > 0, z.abs(), z), 0.3), obs=x)

    def guide(self, x, c, n):
        gain = 1 / 1.09
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(gain * x, (1 - gain) ** 0.5))


def data(share, n=400, seed=0):
    torch.manual_seed(seed)
    c = (torch.rand(n) < share).float()
    return {"x": Absolute().model(None, c, n), "c": c}


def test_a_second_mode_doubles_the_likelihood():
    rows = {"x": torch.full((50,), 1.2), "c": torch.ones(50)}
    found = missed_modes(prior_log_likelihoods(Absolute(), rows, 2000), importance_weights(Absolute(), rows, 500))
    assert float(found.excess.value.mean()) == pytest.approx(np.log(2), abs=0.05)
    assert found.affected.mean() > 0.9


@pytest.mark.parametrize(("share", "told"), [(0.0, False), (0.06, True), (0.3, True)])
def test_a_mode_missed_in_a_share_of_the_data_is_told(share, told):
    diagnosis = diagnose(Absolute(), data(share), budget="quick")
    assert ("modes" in diagnosis.kinds) == told, diagnosis.sentence
    assert (diagnosis.verdict_on("guide") == "believe") != told


def test_data_that_few_draws_fit_are_not_compared():
    found = MissedModes(Estimates(np.array([9.0, 9.0]), np.array([0.1, 0.1])), np.array([3.0, 90.0]))
    assert found.affected.tolist() == [False, True]
    assert found.compared.sum() == 1


@settings(max_examples=25, deadline=None)
@given(hits=st.integers(0, 40), n=st.integers(40, 400))
def test_the_least_share_is_a_binomial_bound(hits, n):
    from scipy.stats import binom

    excess = Estimates(np.where(np.arange(n) < hits, 5.0, 0.0), np.full(n, 0.1))
    least = MissedModes(excess, np.full(n, 100.0)).least_share(0.001)
    assert 0 <= least <= hits / n
    assert hits == 0 or binom.sf(hits - 1, n, least) == pytest.approx(0.001, rel=1e-6)
