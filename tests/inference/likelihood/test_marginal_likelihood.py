"""Likelihoods against exact answers."""

import math
import resource
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import (
    NoWeights,
    adam,
    cosine,
    held_out_elbo,
    log_likelihood,
    log_weights,
    posterior,
    posterior_predictive,
    prior,
    prior_predictive,
)
from pyrogen.models import PPCA
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture, Topics, coin_guide, coin_model


@pytest.fixture
def solved():
    """PPCA at its maximum likelihood with the exact guide, in float64, and its data."""
    x = (torch.randn(300, 3, dtype=torch.float64) @ torch.randn(3, 8, dtype=torch.float64)) + 0.5
    x = x + 0.4 * torch.randn(300, 8, dtype=torch.float64)
    return PPCA(8, 3).double().maximum_likelihood(x), x


def test_an_exact_guide_has_constant_weights(solved):
    story, x = solved
    weights = log_weights(story, x, 7)
    assert weights.shape == (7, 300)
    assert (weights - story.log_prob(x)).abs().max() < 1e-9


def planted(seed):
    """200 data of a pPCA with D=8, K=3 whose posterior is correlated, in float64: W, sigma and x."""
    torch.manual_seed(seed)
    weight = (
        torch.randn(8, 3, dtype=torch.float64)
        @ torch.tensor([[1.0, 0.6, 0.0], [0.0, 0.8, 0.5], [0.0, 0.0, 0.7]]).double()
    )
    return weight, 0.7, torch.randn(200, 3).double() @ weight.T + 0.7 * torch.randn(200, 8).double()


def trained(story, x, **options):
    options = {"optimizer": adam(0.02), "schedule": cosine(2500), "precision": "float64", "batch_size": 200, **options}
    return fit(story, x, steps=2500, **options).story


def test_ppca_trained_whole_meets_its_exact_likelihood(seed):
    """D=8, K=3, N=200: the full-covariance ELBO within 5e-3 nats of log p, and log p near its maximum."""
    x = planted(seed)[2]
    story = trained(PPCA(8, 3).double(), x)
    result = log_likelihood(story, x, 50)
    assert result.kind == "exact"
    assert abs(float((result.value - result.elbo).mean())) < 5e-3
    best = PPCA(8, 3).double().maximum_likelihood(x)
    assert 0 <= float((best.log_prob(x) - story.log_prob(x)).mean().detach()) < 5e-3


def test_meanfield_gap_is_the_closed_form(seed):
    """A mean-field guide trained for a planted model falls short by (sum log M_ii - log det M)/2, within 1e-2."""
    weight, sigma, x = planted(seed)
    story = PPCA(8, 3, guide="meanfield").double()
    with torch.no_grad():
        story.weight.copy_(weight)
        story.log_sigma.fill_(math.log(sigma))
    story.started = True
    story = trained(story, x, freeze="model")
    assert torch.equal(story.weight, weight)
    result = log_likelihood(story, x, 4000)
    gap, expected = float((result.value - result.elbo).mean().detach()), float(story.meanfield_gap().detach())
    assert expected > 0.1
    assert abs(gap - expected) < 1e-2


def test_the_weighted_estimate_and_its_error(solved, seed):
    """Over 300 data, estimates from a wrong guide lie within their errors of log p, and the errors are not too wide."""
    story, x = solved
    with torch.no_grad():
        story.raw_scale.add_(0.15 * torch.eye(3))
    result = log_likelihood(story, x, 2000, seed=seed, exact=False)
    assert (result.kind, result.k) == ("importance-weighted", 2000)
    with torch.no_grad():
        z = (result.value - story.log_prob(x)) / result.error
    assert_within(z.mean(), 0.0, 1 / math.sqrt(300))
    assert_within(z.square().mean(), 1.0, math.sqrt(2 / 300))
    value, error = result.mean()
    assert_within(value, story.log_prob(x).mean().detach(), error)
    assert result.elbo.mean() < result.value.mean()


def test_error_of_the_elbo(solved, seed):
    story, x = solved
    with torch.no_grad():
        story.raw_scale.add_(0.3 * torch.eye(3))
        exact = story.log_prob(x) - story.guide_gap(x)
    result = log_likelihood(story, x, 500, seed=seed)
    assert_within(result.mean_elbo()[0], exact.mean(), result.mean_elbo()[1])


def test_chunks_change_nothing_but_the_draws(solved, monkeypatch):
    story, x = solved
    whole = log_weights(story, x, 5)
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 2**12)
    assert (log_weights(story, x, 5) - whole).abs().max() < 1e-9


def test_a_guide_that_is_a_point_gives_a_bound():
    class Point(Story):
        """z ~ N(0, 1), x ~ N(z, 1), guided by z = x / 2 alone."""

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("z", dist.Delta(x / 2))

    x = torch.tensor([0.0, 2.0])
    result = log_likelihood(Point(), x, 10)
    assert (result.kind, result.k) == ("elbo", 1)
    bound = dist.Normal(0.0, 1.0).log_prob(x / 2) + dist.Normal(x / 2, 1.0).log_prob(x)
    assert torch.allclose(result.value, bound.double())
    assert torch.equal(result.value, result.elbo)
    assert not result.error.any()


def test_without_latents_the_density_is_exact():
    class Numbers(Story):
        def model(self, x, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

        def guide(self, x, n):
            pass

    result = log_likelihood(Numbers(), torch.zeros(3), 10)
    assert (result.kind, result.k, result.error.tolist()) == ("exact", 0, [0.0] * 3)
    assert torch.allclose(result.value, torch.full((3,), -0.5 * math.log(2 * math.pi)).double())


def test_an_enumerated_latent_is_summed_out():
    story, x = Mixture(), torch.linspace(-3, 3, 11)
    weights = log_weights(story, x, 3)
    assert torch.allclose(weights, story.log_density(x).detach().expand(3, 11), atol=1e-6)


def test_an_enumerated_latent_in_an_inner_plate_is_summed_out():
    probs = torch.tensor([0.3, 0.7])
    means = torch.tensor([-1.0, 2.0])

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("words", 4, dim=-1):
                k = pyro.sample("k", dist.Categorical(probs), infer={"enumerate": "parallel"})
                pyro.sample("x", dist.Normal(means[k] + z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 1.0))

    x = torch.randn(6, 4)
    with pyro.get_param_store().scope():
        pyro.param("loc", torch.tensor(0.2))  # as stock SVI leaves it
        story_weights = log_weights((model, guide), x, 1, seed=3)
        pyro.set_rng_seed(3)
        z = poutine.trace(guide).get_trace(x).nodes["z"]["value"]
    normal = torch.distributions.Normal
    words = torch.logsumexp(probs.log() + normal(means + z[..., None], 1.0).log_prob(x[..., None]), -1).sum(-1)
    by_hand = words + (normal(0.0, 1.0).log_prob(z) - normal(0.2, 1.0).log_prob(z)).squeeze(-1)
    assert torch.allclose(story_weights[0], by_hand, atol=1e-5)


def test_weights_are_of_the_unscaled_joint():
    class Subsampled(Topics):
        def model(self, x, total, index):
            with pyro.plate("data", total, subsample=index):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                return pyro.sample("x", dist.Poisson(self.decoder(z).exp()).to_event(1), obs=x)

        def guide(self, x, total, index):
            mean, log_scale = self.encoder(x.log1p()).chunk(2, dim=-1)
            with pyro.plate("data", total, subsample=index):
                pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))

    plain, scaled = Topics(), Subsampled()
    scaled.load_state_dict(plain.state_dict())
    x = torch.poisson(torch.full((50, 10), 2.0))
    fit(scaled, x, steps=1, optimizer=adam(0.0), batch_size=25)
    for rows in (x, x[:7]):
        first, second = (log_weights(story, rows, 4, seed=1) for story in (plain, scaled))
        assert torch.allclose(first, second, atol=1e-4)


def test_a_program_that_fixes_its_rows_is_run_draw_by_draw():
    def model(x):
        with pyro.plate("data", 5):
            z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 5):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    x = torch.randn(5)
    exact = torch.distributions.Normal(0.0, math.sqrt(2)).log_prob(x)
    assert torch.allclose(log_weights((model, guide), x, 6), exact.expand(6, 5), atol=1e-5)


def test_masked_sites_do_not_count():
    mask = torch.tensor([True, False, True])

    def model(x):
        with (
            pyro.plate("data", len(x)),
            pyro.poutine.mask(mask=mask[: len(x)] if len(x) == 3 else mask.repeat(len(x) // 3)),
        ):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    weights = log_weights((model, lambda x: None), torch.zeros(3), 4)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(torch.zeros(3)) * mask
    assert torch.allclose(weights, expected.expand(4, 3))


def test_refusals_name_the_site():
    story = fit(Location(), torch.randn(40), steps=2).story
    with pytest.raises(NoWeights, match="site 'mu' sits outside the data plate"):
        log_weights(story, torch.randn(40), 2)
    with pytest.raises(NoWeights, match="site 'p' sits outside"):
        log_likelihood((coin_model, coin_guide), torch.ones(4), 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(NoWeights, match="does not sample the model's latent 'z'"):
        log_weights((model, lambda x: None), torch.zeros(3), 2)

    def unplated(x):
        pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1), obs=x)

    with pytest.raises(NoWeights, match="no vectorized plate holds the data"):
        log_weights((unplated, lambda x: None), torch.zeros(3), 2)

    def own_rows(x):
        with pyro.plate("data", 10, subsample_size=3) as index:
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[index % len(x)])

    with pytest.raises(NoWeights, match="chooses its own rows"):
        log_weights((own_rows, lambda x: None), torch.zeros(5), 1)


def test_no_density_is_refused_with_the_reason():
    class Silent(Topics):
        unsupported = {"density": "it defines none"}

    with pytest.raises(ValueError, match="Silent has no density: it defines none"):
        log_likelihood(Silent(), torch.ones(3, 10), 5)


def test_batch_norm_uses_its_running_figures():
    class Normed(Topics):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(10, 6), nn.BatchNorm1d(6))

    story, x = Normed(), torch.poisson(torch.full((20, 10), 2.0))
    story.eval()
    together = log_likelihood(story, x, 1000, seed=0).elbo
    alone = torch.cat([log_likelihood(story, row[None], 1000, seed=0).elbo for row in x[:3]])
    story.train()
    assert torch.allclose(log_likelihood(story, x, 1000, seed=0).elbo, together)
    errors = torch.cat([log_likelihood(story, row[None], 1000, seed=1).elbo_error for row in x[:3]])
    assert_within(alone, together[:3], math.sqrt(2) * errors)


def test_held_out_elbo_of_a_shared_latent(seed):
    """With the exact posterior, the ELBO on the training set itself is the exact log p(x) per datum."""
    x = torch.randn(50) + 1.0
    story = fit(Location(), x, steps=2000, optimizer=adam(0.03), schedule=cosine(2000)).story
    exact = torch.distributions.MultivariateNormal(torch.zeros(50), torch.eye(50) + 100.0).log_prob(x) / 50
    value, error = held_out_elbo(story, x, num_samples=200, seed=seed)
    assert_within(value, exact, error + 1e-4)


def test_predictions_by_site_name(solved, seed):
    story, x = solved
    draws = posterior(story, x, 400, seed=seed)["z"]
    assert draws.shape == (400, 300, 3)
    exact = story.exact_posterior(x)
    assert_within(draws.mean((0, 1)), exact.mean.mean(0).detach(), exact.stddev[0].detach() / math.sqrt(400 * 300))
    before = prior(story, x, 50, seed=seed)["z"]
    assert_within(before.mean(), 0.0, 1 / math.sqrt(before.numel()))
    again = posterior_predictive(story, x, 50, seed=seed)["x"]
    assert again.shape == (50, 300, 8)
    assert (again.mean(0) - x).abs().mean() < 0.5
    assert prior_predictive(story, x, 5, seed=seed)["x"].shape == (5, 300, 8)


def test_predictions_of_a_pair_without_an_x_none_path():
    flips = (torch.arange(60) % 3 == 0).float()
    story = fit((coin_model, coin_guide), flips, steps=600, optimizer=adam(0.03)).story
    draws = posterior_predictive(story, flips, 300)["flip"]
    assert draws.shape == (300, 60)
    assert abs(float(draws.mean()) - 1 / 3) < 0.08


MEMORY = """
import resource, torch
from pyrogen.inference import log_likelihood
from pyrogen.models import VAE
torch.set_num_threads(2)
story = VAE((1, 28, 28), 40, hidden=(400,))
x = (torch.rand(10_000, 1, 28, 28) < 0.2).float()
log_likelihood(story, x[:64], 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
log_likelihood(story, x, 4)
log_likelihood(story, x[:40], 1000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""


@pytest.mark.skipif(not hasattr(resource, "getrusage") or sys.platform != "linux", reason="counts KiB as Linux does")
def test_memory_stays_bounded_whatever_the_data_and_draws():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.5


def test_an_error_that_is_kept_leaves_the_world_as_it_was():
    story = fit(Location(), torch.randn(40), steps=2).story
    before = torch.get_rng_state()
    with pytest.raises(NoWeights) as kept:
        log_weights(story, torch.randn(40), 2, seed=1)
    assert kept.value.__traceback__ is not None
    assert torch.is_grad_enabled()
    assert story.training
    assert len(pyro.get_param_store()) == 0
    torch.manual_seed(99)
    after = torch.get_rng_state()
    del kept
    assert torch.equal(torch.get_rng_state(), after)
    assert not torch.equal(before, after)


def test_predictions_take_the_x_none_path_and_leave_auxiliaries_out():
    from pyro.infer.autoguide import AutoMultivariateNormal

    def model(x, n):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(mu + (1.0 if x is None else 101.0), 0.1), obs=x)

    run = fit((model, AutoMultivariateNormal(model)), torch.full((20,), 101.0), steps=5)
    assert set(posterior(run, torch.full((20,), 101.0), 3)) == {"mu"}
    draws = posterior_predictive(run, torch.full((20,), 101.0), 10)["x"]
    assert float(draws.mean()) < 50


def test_a_bare_pair_is_the_one_in_pyros_store_and_an_untrained_one_is_refused():
    flips = torch.ones(6)
    with pytest.raises(ValueError, match=r"was not trained: its parameter 'a' .*Pass what fit"):
        posterior((coin_model, coin_guide), flips, 2)
    with pyro.get_param_store().scope():
        pyro.param("a", torch.tensor(900.0), constraint=dist.constraints.positive)
        pyro.param("b", torch.tensor(100.0), constraint=dist.constraints.positive)
        draws = posterior((coin_model, coin_guide), flips, 50)["p"]
    assert abs(float(draws.mean()) - 0.9) < 0.02


def test_further_arguments_are_what_they_were_at_the_end(tmp_path):
    def model(x, n, shift):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)) + shift, 1.0), obs=x)

    options = {"steps": 4, "optimizer": adam(0.0), "out": tmp_path / "run"}
    x = torch.zeros(5)
    run = fit((model, lambda x: None), x, validation=x, arguments={"shift": lambda step: float(step)}, **options)
    exact = torch.distributions.Normal(4.0, 1.0).log_prob(torch.zeros(()))
    assert torch.allclose(log_weights(run, x, 1), exact.expand(1, 5))
    assert held_out_elbo(run, x, 1)[0] == pytest.approx(float(exact))
