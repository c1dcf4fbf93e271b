"""Amortization and approximation gaps, planted in pPCA by known amounts."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story
from pyrogen.diagnostics import inference_gaps
from pyrogen.models import VAE, HierarchicalVAE
from tests.helpers.linear_gaussian import ppca, precision, scaled
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture

PATIENT = {"steps": 200, "particles": 32}


def assert_gaps(gaps, amortization, approximation):
    """A trained gap is that of the best member of the family to 5e-3 nats."""
    for found, exact in ((gaps.amortization, amortization), (gaps.approximation, approximation)):
        mean = found.mean()
        assert_within(mean.value, exact, math.hypot(mean.error, 5e-3 / 4.27))


def test_mean_field_is_at_fault_by_a_known_amount(seed):
    story = ppca("meanfield")
    gaps = inference_gaps(story, story.sample(40), rows=24, seed=seed, **PATIENT)
    exact = float(story.meanfield_gap().detach())
    assert exact > 0.09
    assert_gaps(gaps, 0.0, exact)
    assert gaps.approximation.value.std() < 6 * gaps.approximation.error.mean()  # the same for every x
    assert gaps.exact
    assert gaps.amortization.value.shape == (24,)
    assert str(gaps).endswith("nats per datum")


def test_an_encoder_is_at_fault_by_a_known_amount(seed):
    story = scaled(ppca(), 0.6)
    shift = torch.tensor([0.3, -0.2]).double()
    with torch.no_grad():
        story.encoder.bias.add_(shift)
    exact = (
        float((shift @ precision(story) @ shift).detach() / 2) + 0.36 - 1 - math.log(0.36)
    )  # a wrong mean; a wrong width
    assert exact > 0.5
    assert_gaps(inference_gaps(story, story.sample(40), seed=seed, **PATIENT), exact, 0.0)


def test_without_an_exact_likelihood_weights_from_the_refined_guide_stand_in(monkeypatch, seed):
    story = ppca("meanfield")
    exact = float(story.meanfield_gap().detach())
    monkeypatch.delattr(type(story), "log_prob")
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 256 * 64 * 12)  # 12 rows at a time
    gaps = inference_gaps(story, story.sample(24), num_samples=1280, seed=seed, **PATIENT)
    assert not gaps.exact
    assert np.isfinite(gaps.khat).all()
    assert_gaps(gaps, 0.0, exact)


def test_a_vae_can_be_refined(seed):
    story = VAE((1, 4, 4), 2, hidden=(8,))
    before = {name: value.clone() for name, value in story.state_dict().items()}
    gaps = inference_gaps(story, torch.rand(20, 1, 4, 4).round(), steps=30, num_samples=320, seed=seed)
    assert gaps.amortization.mean().value > 4.27 * gaps.amortization.mean().error  # it was never trained
    assert all(torch.equal(value, before[name]) for name, value in story.state_dict().items())
    assert all(p.grad is None for p in story.parameters())


class Rates(Story):
    """A positive latent with an exact posterior in the guide's family, whose parameters are kept positive."""

    def model(self, x, n):
        with pyro.plate("data", n):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("rate", dist.Gamma(2.0 * torch.ones(n), 2.0))


def test_constrained_parameters_stay_in_bounds(seed):
    x = torch.tensor([0.0, 1.0, 3.0, 6.0])
    gaps = inference_gaps(Rates(), x, steps=300, particles=32, seed=seed)
    # x ~ NegativeBinomial: p(x) = (x + 1) / 2^(x + 2).
    exact = (x + 1).log() - (x + 2) * math.log(2)
    assert_within(gaps.refined.value, exact, np.hypot(gaps.refined.error, 5e-3 / 4.27))


class Discrete(Rates):
    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("rate", dist.Poisson(2.0))


class Bounded(Rates):
    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("rate", dist.Uniform(0.1, 5.0))


class Flowing(Rates):
    def guide(self, x, n):
        with pyro.plate("data", n):
            base = dist.Normal(torch.zeros(n), 1.0)
            pyro.sample("rate", dist.TransformedDistribution(base, [dist.transforms.ExpTransform()]))


def test_guides_whose_distributions_cannot_be_copied_are_refused():
    x = torch.ones(3)
    with pytest.raises(ValueError, match="Discrete: site 'rate' has a Poisson: inference gaps need repara"):
        inference_gaps(Discrete(), x)
    with pytest.raises(ValueError, match="Bounded: site 'rate' has a Uniform, whose support moves with its parameters"):
        inference_gaps(Bounded(), x)
    with pytest.raises(ValueError, match="Flowing: site 'rate' has a TransformedDistribution"):
        inference_gaps(Flowing(), x)
    images = torch.rand(3, 1, 4, 4).round()
    with pytest.raises(ValueError, match="has a distribution given draws of other latents"):
        inference_gaps(HierarchicalVAE((1, 4, 4), latents=(2, 2), hidden=(8,)), images)
    with pytest.raises(ValueError, match="Location: not every latent sits in the data plate"):
        inference_gaps(Location(), x)
    with pytest.raises(ValueError, match="Mixture: latent 'k' is summed out"):
        inference_gaps(Mixture(), x)
