"""Imputation against pPCA's exact conditional, by an exact guide and by a poor one."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story
from pyrogen.inference import NoWeights, impute
from pyrogen.models import PCA, PPCA, VAE, ConditionalVAE, GaussianMixture
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location

MISSING = torch.tensor([True, False, False, True, False, True])


@pytest.fixture
def solved():
    """pPCA at its maximum likelihood with the exact guide, and four data of its own, in float64."""
    x = torch.randn(300, 2).double() @ torch.randn(2, 6).double() + 0.5 * torch.randn(300, 6).double()
    story = PPCA(6, 2).double().maximum_likelihood(x)
    return story, story.sample(4)


def conditional(story, x, missing):
    """Mean and covariance of the missing elements given the others, exactly."""
    cov = (story.weight @ story.weight.T + (2 * story.log_sigma).exp() * torch.eye(6)).detach()
    seen = ~missing
    gain = torch.linalg.solve(cov[seen][:, seen], cov[seen][:, missing]).T
    mean = story.mean.detach()
    return mean[missing] + (x - mean)[:, seen] @ gain.T, cov[missing][:, missing] - gain @ cov[seen][:, missing]


@pytest.mark.parametrize("spoilt", [0.0, 0.4], ids=["exact guide", "poor guide"])
def test_draws_and_means_are_those_of_the_exact_conditional(solved, seed, spoilt):
    story, x = solved
    mean, cov = conditional(story, x, MISSING)
    with torch.no_grad():
        story.raw_scale += spoilt * torch.eye(2)
        story.encoder.bias += spoilt / 4
    found = impute(story, x, MISSING, chains=800, steps=60, seed=seed)
    assert found.draws.shape == (800, 4, 6)
    assert torch.equal(found.draws[..., ~MISSING], x[:, ~MISSING].expand(800, 4, 3))
    assert torch.equal(found.mean[:, ~MISSING], x[:, ~MISSING])
    assert (found.error[:, ~MISSING] == 0).all()
    # 5.1 of 800 chains' standard errors for some fifty numbers are as rare as 4.27 for one.
    assert_within(found.mean[:, MISSING], mean, found.error[:, MISSING], sigmas=5.1)
    draws = found.draws[..., MISSING]
    assert_within(draws.mean(0), mean, draws.std(0) / math.sqrt(800), sigmas=5.1)
    products = (draws - mean)[..., :, None] * (draws - mean)[..., None, :]
    assert_within(products.mean(0), cov, products.std(0) / math.sqrt(800), sigmas=5.1)
    taken = found.acceptance.mean()
    assert taken > 0.999 if not spoilt else 0.2 < taken < 0.8


def test_without_the_metropolis_step_a_poor_guide_would_be_believed(solved, seed, monkeypatch):
    """The test above can fail: taking every proposal gives another distribution."""
    story, x = solved
    mean, _ = conditional(story, x, MISSING)
    with torch.no_grad():
        story.encoder.bias += 0.4
    monkeypatch.setattr(
        "pyrogen.inference.program.row_log_weights.WeightedTraces.log_weights", lambda self: torch.zeros(3200).double()
    )
    found = impute(story, x, MISSING, chains=800, steps=60, seed=seed)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_within(found.mean[:, MISSING], mean, found.error[:, MISSING], sigmas=5.1)


def test_what_a_missing_element_held_does_not_matter(solved):
    story, x = solved
    first = impute(story, x, MISSING, chains=2, steps=5, seed=1)
    spoilt = x.masked_fill(MISSING, math.nan)
    second = impute(story, {"x": spoilt}, MISSING.expand(4, 6), chains=2, steps=5, seed=1)
    assert torch.equal(first.draws, second.draws)
    nothing = impute(story, x, torch.zeros(6, dtype=torch.bool), chains=2, steps=5)
    assert torch.equal(nothing.mean, x)


def test_pieces_fit_together(solved, monkeypatch, seed):
    story, x = solved
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 2**18)
    mean, _ = conditional(story, x, MISSING)
    found = impute(story, x, MISSING, chains=600, steps=30, seed=seed)
    assert_within(found.mean[:, MISSING], mean, found.error[:, MISSING], sigmas=5.1)


def test_images_and_labels():
    x = (torch.rand(3, 1, 4, 4) < 0.5).float()
    mask = torch.zeros(1, 4, 4, dtype=torch.bool).index_fill(2, torch.tensor([2, 3]), True)
    for story, data in (
        (VAE((1, 4, 4), 2, hidden=(8,)), x),
        (ConditionalVAE((1, 4, 4), 2, classes=3, hidden=(8,)), {"x": x, "y": torch.tensor([0, 2, 1])}),
    ):
        found = impute(story, data, mask, chains=4, steps=6, seed=0)
        assert set(found.draws.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(found.draws[..., :2], x[..., :2].expand(4, 3, 1, 4, 2))
        assert ((found.mean >= 0) & (found.mean <= 1)).all()


class Correlated(Story):
    """A likelihood whose elements depend on each other."""

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.MultivariateNormal(z[:, None].expand(n, 2), torch.eye(2)), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(x.mean(1), 1.0))


def test_refusals(solved):
    story, x = solved
    for missing in (torch.zeros(6), torch.zeros(4, dtype=torch.bool)):
        with pytest.raises(
            ValueError, match=r"missing is a boolean mask of x's shape \(4, 6\), or \(6,\) for all data"
        ):
            impute(story, x, missing)
    with pytest.raises(ValueError, match="at least 2 chains, got chains=1"):
        impute(story, x, MISSING, chains=1)
    with pytest.raises(ValueError, match="fills in column 'x', and the data has no such column"):
        impute(story, {"y": x}, MISSING)
    pixels = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="elements of 'x' to be independent given the latents, and it is Multivariate"):
        impute(Correlated(), torch.randn(5, 2), pixels)
    with pytest.raises(ValueError, match="GaussianMixture has no guide"):
        impute(GaussianMixture(2, 2), torch.randn(5, 2), pixels)
    with pytest.raises(ValueError, match="PCA has no guide"):
        impute(PCA(2, 1), torch.randn(5, 2), pixels)
    with pytest.raises(NoWeights, match="site 'mu' sits outside the data plate"):
        impute(Location(), torch.randn(5), torch.tensor([True] + [False] * 4))
