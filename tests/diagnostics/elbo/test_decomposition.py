"""The parts of the ELBO against pPCA's closed forms, and for hierarchies, masks and factors."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story
from pyrogen.diagnostics import decompose, importance_weights
from pyrogen.models import HierarchicalVAE
from tests.helpers.linear_gaussian import ppca, scaled
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture


def collapsed_in_its_last():
    """A pPCA whose last latent moves nothing."""
    story = ppca("meanfield", latent=3)
    with torch.no_grad():
        story.weight[:, 2] = 0.0
    return story.solve_guide()


def test_a_meanfield_guide_has_its_closed_forms_by_dimension(seed):
    story = scaled(collapsed_in_its_last(), 1.0)
    x = story.sample(30)
    parts = decompose(story, x, 400, seed=seed)
    q = story.encode(x)
    exact = ((q.mean**2 + q.variance - q.variance.log() - 1) / 2).detach()
    np.testing.assert_allclose(parts.kl_by_dimension["z"].value, exact, atol=1e-10)
    assert np.abs(parts.kl_by_dimension["z"].value[:, 2]).max() < 1e-10  # a dead latent costs nothing
    np.testing.assert_allclose(parts.kl["z"].value, exact.sum(-1), atol=1e-10)
    assert parts.kl["z"].error.max() < 1e-10
    assert parts.analytic == {"z"}
    mean = q.mean @ story.weight.T + story.mean
    spread = (q.variance @ story.weight.T.square()).sum(-1)
    variance = (2 * story.log_sigma).exp()
    square = (x - mean).square().sum(-1) + spread
    exact_x = -(5 * (2 * math.pi * variance).log() + square / variance) / 2
    assert_within(parts.reconstruction["x"].mean().value, exact_x.mean(), parts.reconstruction["x"].mean().error)
    gap = story.guide_gap(x)
    assert_within(parts.elbo.mean().value, (story.log_prob(x) - gap).mean(), parts.elbo.mean().error)
    assert str(parts).startswith("ELBO -")
    assert "for x - KL" in str(parts)


def test_a_correlated_guide_has_no_dimensions_of_its_own(seed):
    story = ppca()
    x = story.sample(20)
    parts = decompose(story, x, 300, seed=seed)
    assert parts.kl_by_dimension == {}
    prior = dist.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    exact = torch.distributions.kl_divergence(story.exact_posterior(x), prior).detach()
    assert_within(parts.kl["z"].mean().value, exact.mean(), parts.kl["z"].mean().error)
    np.testing.assert_allclose(parts.elbo.value, story.log_prob(x).detach(), atol=1e-10)


def test_every_latent_of_a_hierarchy_has_its_share(seed):
    story = HierarchicalVAE((1, 4, 4), latents=(2, 3), hidden=(8,))
    x = torch.rand(6, 1, 4, 4).round()
    parts = decompose(story, x, 400, seed=seed)
    assert len(parts.kl) == 2
    whole = importance_weights(story, x, 400, seed=seed + 1).elbo
    assert_within(parts.elbo.value, whole.value, np.hypot(parts.elbo.error, whole.error))
    for name, kl in parts.kl.items():
        np.testing.assert_allclose(parts.kl_by_dimension[name].value.sum(1), kl.value, rtol=1e-4)


class Odd(Story):
    """A masked latent, an auxiliary draw of the guide, a factor, and a prior without a closed form."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.3))

    def model(self, x, n):
        with pyro.plate("data", n):
            with pyro.poutine.mask(mask=x > 0):
                pyro.sample("masked", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.StudentT(3.0, torch.zeros(2), 1.0).to_event(1))
            pyro.factor("bonus", 0.1 * z[:, 0])
            pyro.sample("x", dist.Normal(z[:, 0] + self.loc, 1.0), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            with pyro.poutine.mask(mask=x > 0):
                pyro.sample("masked", dist.Normal(1.0, 1.0))
            extra = pyro.sample("extra", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(torch.stack([x / 2, extra], -1), 1.0).to_event(1))


def test_the_parts_of_an_odd_program_add_up(seed):
    x, samples = torch.tensor([-1.0, 0.5, 2.0]), 3000
    parts = decompose(Odd(), x, samples, seed=seed)
    assert set(parts.reconstruction) == {"x", "bonus"}
    assert set(parts.kl) == {"masked", "z", "extra"}
    assert parts.analytic == frozenset()
    assert parts.kl["masked"].value[0] == 0.0
    assert_within(parts.kl["masked"].value[1:], 0.5, parts.kl["masked"].error[1:])  # KL of N(1, 1) and N(0, 1)
    assert_within(parts.kl["extra"].value, -dist.Normal(0.0, 1.0).entropy(), parts.kl["extra"].error)
    total = sum(e.value for e in parts.reconstruction.values()) - sum(e.value for e in parts.kl.values())
    np.testing.assert_allclose(total, parts.elbo.value, atol=1e-6)
    assert parts.kl_by_dimension["z"].value.shape == (3, 2)
    grid = torch.linspace(-12, 12, 4001).double()  # the second dimension of z is N(0, 2) under the guide
    wide = dist.Normal(0.0, math.sqrt(2)).log_prob(grid)
    given = dist.Normal(0.0, 1.0).entropy() + (wide.exp() * dist.StudentT(3.0).log_prob(grid)).sum() * (24 / 4000)
    assert_within(parts.kl_by_dimension["z"].value[:, 1], -given, parts.kl_by_dimension["z"].error[:, 1])


def test_rows_go_a_few_at_a_time(monkeypatch, seed):
    story = ppca("meanfield")
    x = story.sample(12)
    whole = decompose(story, x, 20, seed=seed)
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 20 * 5)
    pieces = decompose(story, x, 20, seed=seed)
    np.testing.assert_allclose(pieces.kl["z"].value, whole.kl["z"].value)
    assert pieces.elbo.value.shape == (12,)


def test_where_no_datum_has_an_elbo_the_reason_is_given():
    with pytest.raises(ValueError, match="Mixture: latent 'k' is summed out"):
        decompose(Mixture(), torch.randn(4))
    with pytest.raises(ValueError, match="Location: not every latent sits in the data plate"):
        decompose(Location(), torch.randn(4))
