"""Bayesian PCA: its exact factors, its bound, and the columns that it switches off."""

import functools

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyrogen import fit
from pyrogen.inference import NoWeights, adam, held_out_elbo, log_likelihood, log_weights
from pyrogen.models import PPCA, BayesianPPCA

FEATURES, ROWS = 10, 400
SCALES = (2.0, 1.5, 1.0)


def planted(unit: float = 1.0, rows: int = ROWS) -> Tensor:
    """Three orthogonal columns, and noise of 0.3, in some unit."""
    generator = torch.Generator().manual_seed(3)
    axes = torch.linalg.qr(torch.randn(FEATURES, 3, generator=generator)).Q * FEATURES**0.5
    z = torch.randn(rows, 3, generator=generator) * torch.tensor(SCALES)
    return unit * (z @ axes.T + 0.3 * torch.randn(rows, FEATURES, generator=generator) + 4)


def random_story(latent: int = 4) -> BayesianPPCA:
    story = BayesianPPCA(FEATURES, latent).double()
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
        story.unit.fill_(1.7)
    return story


@functools.cache
def trained(unit: float = 1.0, batch_size: int = ROWS) -> BayesianPPCA:
    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)

    options = {"steps": 400, "batch_size": batch_size, "optimizer": adam(0.02), "schedule": schedule}
    return fit(BayesianPPCA(FEATURES, 8), {"x": planted(unit)}, **options).story


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_it_switches_off_the_columns_that_planted_data_do_not_need(unit: float) -> None:
    x, story = planted(unit), trained(unit)
    scales = story.column_scales().detach().sort(descending=True).values / unit
    torch.testing.assert_close(scales[:3], torch.tensor(SCALES), rtol=0.1, atol=0)
    assert scales[3:].max() < 0.05
    # What is left of a surplus column is its uncertainty, where maximum likelihood finds columns in the noise.
    means = story.weight().mean.detach().norm(dim=0).sort(descending=True).values
    found = PPCA(FEATURES, 8).maximum_likelihood(x).weight.detach().norm(dim=0)
    assert means[3:].max() < 0.5 * found[3:].max()
    assert abs(float(story.sigma().mean.detach()) / unit - 0.3) < 0.02


def test_the_guide_is_exact_in_the_latents_given_the_rest() -> None:
    """log p(x, z | W, s) - log q(z | x, W, s) is log N(x; mu, WW' + s^2 I) for every draw."""
    story, x = random_story(), planted(rows=50).double()
    guide = poutine.trace(story.guide).get_trace(x, len(x), ROWS, torch.arange(50))
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, len(x), ROWS, torch.arange(50))
    guide.compute_log_prob()
    model.compute_log_prob()
    weight, sigma = guide.nodes["weight"]["value"], guide.nodes["sigma"]["value"]
    covariance = weight @ weight.T + sigma**2 * torch.eye(FEATURES).double()
    exact = dist.MultivariateNormal(story.mean, covariance).log_prob(x)
    found = sum(model.nodes[n]["fn"].log_prob(model.nodes[n]["value"]) for n in ("z", "x"))
    found = found - guide.nodes["z"]["fn"].log_prob(guide.nodes["z"]["value"])
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)
    assert model.nodes["x"]["scale"] == ROWS / 50


def test_the_guide_is_exact_in_the_relevance_given_the_weights() -> None:
    """Where q(W) is a point, log p(a) + log p(W | a) - log q(a) does not depend on a."""
    story = random_story()
    with torch.no_grad():
        story.raw_weight_scale.fill_(-40.0)
        relevance = dist.Gamma(story.relevance().concentration, story.relevance().rate).sample((20,))
        prior = dist.Gamma(torch.tensor(1e-3).double(), 1e-3).log_prob(relevance)
        deviation = story.unit / relevance.sqrt()
        given = dist.Normal(0.0, deviation[:, None, :]).log_prob(story.weight().mean).sum(1)
        constant = prior + given - story.relevance().log_prob(relevance)
    assert (constant - constant[0]).abs().max() < 1e-8


def test_the_bound_lies_below_the_maximum_of_the_likelihood_and_near_it_for_many_data() -> None:
    x = planted()
    best = float(PPCA(FEATURES, 8).maximum_likelihood(x).log_prob(x).detach().mean())
    story = trained()
    elbo, error = held_out_elbo(story, {"x": x}, 20)
    assert best - 1.0 < elbo < best
    assert error < 0.01
    new = planted(rows=800)[ROWS:]
    assert abs(held_out_elbo(story, {"x": new}, 20)[0] - elbo) < 0.5


def test_a_datum_has_no_weight_of_its_own() -> None:
    run = fit(BayesianPPCA(FEATURES, 2), {"x": planted()}, steps=2)
    for act in (log_weights, log_likelihood):
        with pytest.raises(NoWeights, match="site 'relevance' sits outside the data plate"):
            act(run, {"x": planted()}, 2)


def test_batches_weigh_as_much_as_the_whole() -> None:
    elbos = [held_out_elbo(trained(batch_size=size), {"x": planted()}, 20)[0] for size in (ROWS, 100)]
    assert abs(elbos[0] - elbos[1]) < 0.1


def test_encoding_at_the_centre_of_the_guide() -> None:
    story, x = random_story(), planted(rows=20).double()
    ppca = PPCA(FEATURES, 4).double()
    with torch.no_grad():
        ppca.weight.copy_(story.weight().mean)
        ppca.mean.copy_(story.mean)
        ppca.log_sigma.copy_(story.sigma().loc)
    exact = ppca.exact_posterior(x)
    torch.testing.assert_close(story.encode(x).mean, exact.mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(story.encode(x).covariance_matrix, exact.covariance_matrix, rtol=0, atol=1e-9)
    again = exact.mean @ ppca.weight.T + ppca.mean
    torch.testing.assert_close(story.reconstruct(x), again.detach(), rtol=0, atol=1e-9)


def test_shapes_and_doors() -> None:
    x = planted(rows=30)
    story = fit(BayesianPPCA((1, 2, 5), FEATURES), {"x": x.reshape(-1, 1, 2, 5)}, steps=2).story
    assert story.sample(7).shape == (7, 1, 2, 5)
    assert story.model(None, 7).shape == (7, 1, 2, 5)
    with pytest.raises(ValueError, match="BayesianPPCA takes at most as many latents as features, got latent=5 of 4"):
        BayesianPPCA(4, 5)
    with pytest.raises(ValueError, match="positive concentration, got concentration=0"):
        BayesianPPCA(4, 2, concentration=0)
