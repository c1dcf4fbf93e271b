"""Draws and densities of a tree, against exact answers."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story
from pyrogen.diagnostics import to_datatree
from pyrogen.inference import log_likelihood
from pyrogen.inference.likelihood import memory_budget
from pyrogen.models import PPCA
from tests.helpers.statistics import assert_within
from tests.helpers.stories import coin_model


def values(tree, group, name):
    """A variable's draws, (draws, ...), as a tensor."""
    return torch.from_numpy(tree[group][name].values[0])


@pytest.fixture
def x():
    x = torch.randn(40, 2, dtype=torch.float64) @ torch.randn(2, 5, dtype=torch.float64)
    return x + 0.4 * torch.randn(40, 5, dtype=torch.float64)


@pytest.fixture
def solved(x):
    """PPCA at its maximum likelihood, its guide exact, in float64."""
    return PPCA(5, 2).double().maximum_likelihood(x)


def test_an_exact_guide_has_constant_weights(solved, x):
    tree = to_datatree(solved, {"x": x}, 20)
    weights = values(tree, "importance", "log_weight")
    assert (weights - solved.log_prob(x)).abs().max() < 1e-10
    summary = tree["importance_summary"]
    for name in ("elbo", "log_likelihood"):
        assert (torch.from_numpy(summary[name].values) - solved.log_prob(x)).abs().max() < 1e-10
    assert float(summary["log_likelihood_error"].max()) < 1e-6
    assert float(summary["ess"].min()) > 20 - 1e-6


def test_densities_are_those_of_the_draws(solved, x):
    tree = to_datatree(solved, {"x": x}, 20)
    z = values(tree, "posterior", "z")
    likelihood = dist.Normal(z @ solved.weight.T + solved.mean, solved.log_sigma.exp()).log_prob(x).sum(-1)
    prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(values(tree, "log_likelihood", "x"), likelihood.detach())
    torch.testing.assert_close(values(tree, "importance", "log_p"), (likelihood + prior).detach())
    torch.testing.assert_close(values(tree, "importance", "log_q"), solved.exact_posterior(x).log_prob(z).detach())


def test_draws_have_the_moments_of_the_exact_posterior(solved, x, seed):
    samples = 4000
    z = values(to_datatree(solved, {"x": x[:3]}, samples, seed=seed, groups=["posterior"]), "posterior", "z")
    exact = solved.exact_posterior(x[:3])
    variance = exact.covariance_matrix.diagonal(dim1=-2, dim2=-1)
    assert_within(z.mean(0), exact.mean, (variance / samples).sqrt(), what="mean")
    off = exact.covariance_matrix[:, 0, 1]
    products = (z - exact.mean).prod(-1)
    spread = ((variance.prod(-1) + off**2) / samples).sqrt()
    assert_within(products.mean(0), off, spread, what="covariance")
    assert_within((z - exact.mean).square().mean(0), variance, variance * math.sqrt(2 / samples), what="variance")


def test_predictions_have_the_exact_moments(solved, x, seed):
    samples = 4000
    tree = to_datatree(solved, {"x": x[:2]}, samples, seed=seed)
    W, noise = solved.weight, (2 * solved.log_sigma).exp()
    exact = solved.exact_posterior(x[:2])
    mean = exact.mean @ W.T + solved.mean
    variance = (W @ exact.covariance_matrix @ W.T).diagonal(dim1=-2, dim2=-1) + noise
    replicated = values(tree, "posterior_predictive", "x")
    assert_within(replicated.mean(0), mean, (variance / samples).sqrt(), what="posterior predictive mean")
    marginal = (W @ W.T).diagonal() + noise
    new = values(tree, "prior_predictive", "x") - solved.mean
    assert_within(new.mean(0), 0.0, (marginal / samples).sqrt(), what="prior predictive mean")
    error = marginal * math.sqrt(2 / samples)
    assert_within(new.square().mean(0), marginal, error, what="prior predictive variance")


def test_a_meanfield_guide_has_its_closed_form_gap(seed):
    story = PPCA(5, 2, guide="meanfield").double()
    story.weight.data = torch.tensor([[1.0, 0.3], [0.3, 1.0], [0.5, -0.2], [0.0, 0.5], [0.4, 0.4]]).double()
    x = story.solve_guide().sample(40)
    summary = to_datatree(story, {"x": x}, 2000, seed=seed)["importance_summary"]
    found = {name: torch.from_numpy(summary[name].values) for name in summary.data_vars}
    exact = story.log_prob(x)
    assert story.meanfield_gap() > 0.01
    assert_within(found["elbo"], exact - story.meanfield_gap(), found["elbo_error"], what="elbo")
    assert_within(found["log_likelihood"], exact, found["log_likelihood_error"], what="log-likelihood")
    # The weights' chi-square divergence in closed form: precision P = M / sigma^2, guide's variances B = 1 / P_ii.
    W = story.weight.detach()
    precision = W.T @ W + torch.eye(2, dtype=torch.float64)
    B = (1 / precision.diagonal()).diag()
    chi2 = B.det().sqrt() * precision.det() / (2 * precision - torch.linalg.inv(B)).det().sqrt() - 1
    assert abs(float(found["ess"].mean()) / 2000 * (1 + float(chi2)) - 1) < 0.02
    other = log_likelihood(story, {"x": x}, 2000, exact=False)
    assert abs(float(found["log_likelihood_error"].mean() / other.error.mean()) - 1) < 0.2


def test_rows_a_few_at_a_time_are_the_same_rows(solved, x, monkeypatch):
    whole = to_datatree(solved, {"x": x}, 6)
    for elements in (256 * 16, 256 * 100):  # 16 rows in a run, then 40 rows twice in a run
        monkeypatch.setattr(memory_budget, "ELEMENTS", elements)
        tree = to_datatree(solved, {"x": x}, 6)
        assert tree["observed_data"].equals(whole["observed_data"])
        assert tree["posterior"].sizes == whole["posterior"].sizes
        assert (values(tree, "importance", "log_weight") - solved.log_prob(x)).abs().max() < 1e-10
        z = values(tree, "posterior", "z")
        assert len(z.flatten().unique()) == z.numel()


def coin_guide(flips):
    """As wide as the posterior of half the flips."""
    pyro.sample("p", dist.Beta(5.0, 3.0))


def test_a_shared_latent_has_sample_stats_that_correct_its_guide(seed):
    import arviz_stats

    flips = torch.tensor([1.0] * 6 + [0.0] * 4)
    wanted = ["posterior", "log_likelihood", "sample_stats"]
    tree = to_datatree((coin_model, coin_guide), {"flips": flips}, 400, seed=seed, groups=wanted)
    p = values(tree, "posterior", "p")
    likelihood = dist.Bernoulli(p[:, None]).log_prob(flips)
    torch.testing.assert_close(values(tree, "log_likelihood", "flip"), likelihood)
    joint = likelihood.sum(-1) + dist.Beta(2.0, 2.0).log_prob(p)
    torch.testing.assert_close(values(tree, "sample_stats", "lp"), joint)
    torch.testing.assert_close(values(tree, "sample_stats", "log_q"), dist.Beta(5.0, 3.0).log_prob(p))
    # Left out, a flip is predicted by the other nine: (2 + 5) / (4 + 9) for a head, (2 + 3) / (4 + 9) for a tail.
    exact = 6 * math.log(7 / 13) + 4 * math.log(5 / 13)
    lp, log_q = (tree["sample_stats"][name].values.flatten() for name in ("lp", "log_q"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # with so few draws a Pareto shape may come out large
        plain, corrected = arviz_stats.loo(tree), arviz_stats.loo_approximate_posterior(tree, lp, log_q)
    assert abs(corrected.elpd - exact) < 0.2 < abs(plain.elpd - exact)


class Bias(Story):
    """No latents at all; the model depends on x when x is given, and must not when it draws."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(1.0))

    def model(self, x, n):
        with pyro.plate("data", n):
            mean = self.mean if x is None else 0 * x + self.mean
            pyro.sample("x", dist.Normal(mean + (0.0 if x is None else 100.0), 2.0), obs=x)

    def guide(self, x, n):
        pass


def test_a_story_without_latents_has_a_likelihood_and_predictions(seed):
    x = torch.randn(5)
    tree = to_datatree(Bias(), {"x": x}, 400, seed=seed)
    assert not {"posterior", "prior", "sample_stats"} & set(tree.children)
    exact = dist.Normal(101.0, 2.0).log_prob(x).expand(400, 5)
    torch.testing.assert_close(values(tree, "importance", "log_weight"), exact)
    torch.testing.assert_close(values(tree, "log_likelihood", "x"), exact)
    for group in ("posterior_predictive", "prior_predictive"):
        assert_within(values(tree, group, "x").mean(), 1.0, 2 / math.sqrt(2000), what=group)


class Declines(PPCA):
    """Neither samples nor a density."""

    unsupported = {"sample": "for the test", "density": "for the test"}


def test_groups_that_a_story_declines_are_left_out(x):
    assert list(to_datatree(Declines(5, 2), {"x": x.float()}, 3).children) == ["posterior", "observed_data"]


class Encodes(PPCA):
    """No guide."""

    unsupported = {"guide": "for the test"}


def test_without_a_guide_there_is_no_posterior(x):
    tree = to_datatree(Encodes(5, 2), {"x": x.float()}, 3)
    assert list(tree.children) == ["prior", "prior_predictive", "observed_data"]
    assert tree.attrs["guide"] == "none"
