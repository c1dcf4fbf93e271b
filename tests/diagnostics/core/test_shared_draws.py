"""Draws of latents that data share: many in one run are those of as many runs."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal

from pyrogen import fit
from pyrogen.diagnostics.core.shared_draws import SharedDraws, SharedSampler
from pyrogen.inference import NoWeights, evaluation_context
from pyrogen.models import PPCA

X = torch.randn(30, generator=torch.Generator().manual_seed(0))


def location(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    pyro.deterministic("twice", 2 * mu)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, sigma), obs=x)


def branching(x):
    """Asks for the value of a latent."""
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    scale = 1.0 if float(mu.detach()) > 0 else 2.0
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, scale), obs=x)


def draws_of(model, guide, count, seed=0):
    run = fit((model, guide), {"x": X}, steps=20, progress=False)
    with evaluation_context(run, seed) as context:
        sampler = SharedSampler(context.story, context.batch({"x": X}))
        return sampler, sampler.draw(count)


@pytest.mark.parametrize("make", [AutoNormal, AutoMultivariateNormal])
def test_a_vectorized_run_has_the_densities_of_its_values(make):
    sampler, drawn = draws_of(location, make(location), 50)
    assert sampler.vectorized
    mu, sigma = (torch.tensor(drawn.values[name]) for name in ("mu", "sigma"))
    exact = dist.Normal(0.0, 2.0).log_prob(mu) + dist.HalfNormal(1.0).log_prob(sigma)
    exact = exact + dist.Normal(mu[:, None], sigma[:, None]).log_prob(X.double()).sum(1)
    assert np.allclose(drawn.log_p, exact, rtol=1e-4)
    assert np.allclose(drawn.values["twice"], 2 * drawn.values["mu"], rtol=1e-5)
    assert len(np.unique(drawn.values["mu"])) == 50
    assert drawn.names == ("mu", "sigma", "twice")


def test_the_draws_are_the_guides(seed):
    guide = AutoNormal(location)
    _, drawn = draws_of(location, guide, 4000, seed)
    loc, scale = float(guide.locs.mu.detach()), float(guide.scales.mu.detach())
    assert drawn.values["mu"].mean() == pytest.approx(loc, abs=4.27 * scale / 4000**0.5)
    assert drawn.values["mu"].std() == pytest.approx(scale, rel=4.27 / 8000**0.5)


def test_a_program_that_cannot_be_vectorized_draws_one_by_one():
    sampler, drawn = draws_of(branching, AutoNormal(branching), 20)
    assert not sampler.vectorized
    assert len(np.unique(drawn.values["mu"])) == 20
    assert sampler.affordable(100, 1) == 100


def test_a_point_has_one_value():
    sampler, drawn = draws_of(location, AutoDelta(location), 5)
    assert not sampler.vectorized
    assert np.ptp(drawn.values["mu"]) == 0


def test_cheap_draws_may_be_more():
    sampler, _ = draws_of(location, AutoNormal(location), 2)
    assert sampler.affordable(1000, 3) == 4000
    assert sampler.affordable(1000, 2**24) == 1000


def test_parts_are_joined():
    _, drawn = draws_of(location, AutoNormal(location), 6)
    both = SharedDraws.joined([drawn, drawn])
    assert both.flat.shape == (12, 3)
    assert np.array_equal(both.log_weights[:6], both.log_weights[6:])


def test_latents_of_each_datum_are_refused():
    story = PPCA(4, latent=1)
    with pytest.raises(NoWeights, match="no draw has a weight of all latents"), evaluation_context(story, 0) as context:
        SharedSampler(story, context.batch(torch.randn(5, 4)))
