"""Objectives against closed forms."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal

from pyrogen import Story, fit
from pyrogen.inference import ImportanceWeightedELBO, NoWeights, TemperedELBO, adam, log_likelihood
from pyrogen.inference.program.program import Program
from pyrogen.models import PPCA, VAE, VQVAE, Diffusion, Flow
from pyrogen.story import Batch
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Mixture


class Pairs(Story):
    """z ~ N(0, I_2), x given z ~ N(z, I_2), with a guide N(m, s^2) that ignores x: every term has a closed form."""

    def __init__(self, mean=(0.5, 0.0), scale=(0.5, 1.0)):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.tensor(mean))
        self.log_scale = torch.nn.Parameter(torch.tensor(scale).log())

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(self.mean, self.log_scale.exp()).to_event(1))

    def divergences(self):
        """KL(q || p) of each latent dimension, in nats."""
        s2 = (2 * self.log_scale).exp()
        return ((s2 + self.mean**2 - 1) / 2 - self.log_scale).detach()

    def reconstruction(self, x):
        """E_q log p(x given z), mean over data."""
        s2 = (2 * self.log_scale).exp()
        square = (x - self.mean) ** 2 + s2 + math.log(2 * math.pi)
        return -square.sum(-1).mean().detach() / 2


def batch(x):
    return Batch({"x": x}, len(x), len(x), torch.arange(len(x)))


def mean_loss(objective, story, x, repeats=60):
    """Mean loss per datum over repeated evaluations, and its standard error."""
    program, b = Program(story), batch(x)
    with torch.no_grad(), story.param_store_scope():
        losses = torch.stack([objective.differentiable_loss(program.model, program.guide, b) for _ in range(repeats)])
    losses = losses.double() / len(x)
    return float(losses.mean()), float(losses.std()) / math.sqrt(repeats)


X = torch.linspace(-1, 2, 400).reshape(200, 2)


@pytest.mark.parametrize("base", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence(beta, base):
    story = Pairs()
    loss, error = mean_loss(TemperedELBO(beta=beta, base=base()), story, X)
    assert_within(loss, beta * story.divergences().sum() - story.reconstruction(X), error + 1e-6)


def test_warmup_rises_over_its_epochs():
    objective = TemperedELBO(beta=2.0, warmup=10)
    weights = []
    for epoch in (0.0, 2.5, 5.0, 10.0, 50.0):
        objective.set_epoch(epoch)
        weights.append(float(objective.weight))
    assert weights == [0.0, 0.5, 1.0, 2.0, 2.0]
    run = fit(Pairs(), X, epochs=4, batch_size=100, objective=TemperedELBO(warmup=4))
    assert [record["beta"] for record in run.history] == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("base", [Trace_ELBO, TraceMeanField_ELBO])
def test_free_bits_floor_each_latent_dimension(base):
    """The first dimension's divergence is above the floor, the second's, exactly 0, is held at it."""
    story = Pairs()
    first, second = story.divergences()
    floor = 0.1
    assert first > floor > second
    loss, error = mean_loss(TemperedELBO(free_bits=floor, base=base()), story, X, repeats=200)
    # The batch mean of 200 sampled terms is floored, not its expectation: of order sd/sqrt(200) for the second.
    slack = 0.0 if base is TraceMeanField_ELBO else 0.02
    assert abs(loss - float(first + floor - story.reconstruction(X))) < 4.27 * error + slack + 1e-6


def test_free_bits_keep_the_factors_of_the_guide():
    """A VQ-VAE's commitment, which its guide pays in training."""
    x = torch.bernoulli(torch.full((20, 1, 4, 4), 0.5))
    losses = []
    for commitment in (0.0, 10.0):
        torch.manual_seed(0)
        story = VQVAE((1, 4, 4), 2, codes=4, features=2, hidden=(8,), commitment=commitment)
        for objective in (Trace_ELBO(), TemperedELBO(free_bits=1e-9)):
            losses.append(fit(copy.deepcopy(story), x, steps=1, objective=objective).history[0]["train_elbo"])
    assert losses[0] != losses[2]
    assert losses[1] == pytest.approx(losses[0])
    assert losses[3] == pytest.approx(losses[2])


def test_free_bits_stop_the_gradient_of_what_is_below_the_floor():
    story = Pairs()
    program = Program(story)
    objective = TemperedELBO(free_bits=0.1, base=TraceMeanField_ELBO())
    with story.param_store_scope():
        loss = objective.differentiable_loss(program.model, program.guide, batch(X)) / len(X)
    grad = torch.autograd.grad(loss, story.log_scale)[0]
    first = (2 * story.log_scale[0]).exp() - 1 + (2 * story.log_scale[0]).exp()
    # d/dlog s: KL gives s^2 - 1 where above the floor; the reconstruction gives s^2, both sampled where they are.
    assert abs(float(grad[0] - first.detach())) < 0.2
    assert abs(float(grad[1] - 1.0)) < 0.3


def test_validation_is_untempered():
    run = fit(Pairs(), X, validation=X, steps=1, optimizer=adam(0.0), objective=TemperedELBO(beta=50.0))
    story = Pairs()
    exact = float(story.reconstruction(X) - story.divergences().sum())
    assert abs(run.history[0]["validation_elbo"] - exact) < 0.5
    assert run.history[0]["train_elbo"] < exact - 10


def test_importance_weighted_bound_is_the_weighted_estimate(seed):
    """Its expectation over draws at K is that of the k-sample estimate, between the ELBO and log p."""
    story = Pairs(mean=(0.5, 0.0), scale=(0.8, 0.9))
    loss, error = mean_loss(ImportanceWeightedELBO(8), story, X, repeats=100)
    estimates = [log_likelihood(story, X, 8, seed=seed + i, exact=False).value.mean() for i in range(100)]
    values = torch.stack(estimates).double()
    assert_within(-loss, values.mean(), math.hypot(error, float(values.std()) / 10))
    log_p = torch.distributions.Normal(0.0, math.sqrt(2.0)).log_prob(X).sum(-1).mean()
    elbo = mean_loss(Trace_ELBO(), story, X)[0]
    assert -elbo < -loss < float(log_p)


def test_importance_weighted_bound_is_not_the_joint_one():
    """Pyro's RenyiELBO agrees where all sites sit in the plate; a shared latent is refused, not made a joint bound."""
    story = Pairs(mean=(0.5, 0.0), scale=(0.8, 0.9))
    renyi = RenyiELBO(alpha=0.0, num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    program, b = Program(story), batch(X)
    with torch.no_grad(), story.param_store_scope():
        theirs = torch.tensor([renyi.loss(program.model, program.guide, b) for _ in range(100)]) / len(X)
    loss, error = mean_loss(ImportanceWeightedELBO(8), story, X, repeats=100)
    assert_within(loss, theirs.mean(), math.hypot(error, float(theirs.std()) / 10))
    with pytest.raises(NoWeights, match="site 'mu' sits outside"):
        fit(Location(), torch.randn(30), steps=1, objective=ImportanceWeightedELBO(5))


def test_importance_weighting_needs_reparameterized_latents():
    def model(x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Bernoulli(pyro.param("p", torch.tensor(0.4))))

    with pytest.raises(ValueError, match="needs reparameterized latents, and site 'z'"):
        fit((model, guide), torch.randn(10), steps=1, objective=ImportanceWeightedELBO(5))


def test_more_draws_train_a_tighter_bound():
    x = torch.randn(128, 6) @ torch.randn(6, 6)
    finals = {}
    for k in (1, 16):
        torch.manual_seed(0)
        story = PPCA(6, 2, guide="meanfield")
        run = fit(story, x, epochs=150, objective=ImportanceWeightedELBO(k), optimizer=adam(0.01))
        finals[k] = run.history[-1]["train_elbo"]
    assert finals[16] > finals[1] - 0.05


def test_losses_per_datum_agree_across_objectives():
    """K = 1 is the ELBO, however the plate is written and whatever the batch."""
    for batch_size in (200, 64):
        runs = [
            fit(Pairs(), X, epochs=40, batch_size=batch_size, optimizer=adam(0.0), objective=objective)
            for objective in (Trace_ELBO(), ImportanceWeightedELBO(1), TemperedELBO())
        ]
        means = [torch.tensor([r["train_elbo"] for r in run.history]).mean() for run in runs]
        assert_within(means[1], means[0], 0.02)
        assert_within(means[2], means[0], 0.02)


def test_an_enumerated_latent_under_importance_weighting():
    x = torch.linspace(-2, 2, 50)
    story = Mixture()
    loss, _ = mean_loss(ImportanceWeightedELBO(3), story, x, repeats=2)
    assert loss == pytest.approx(-float(story.log_density(x).mean().detach()), rel=1e-5)
    program = Program(story)
    with story.param_store_scope():
        enumerated = TraceEnum_ELBO(max_plate_nesting=1).loss(program.model, program.guide, batch(x))
    assert loss == pytest.approx(enumerated / 50, rel=1e-5)


@pytest.mark.parametrize(
    "objective",
    [TemperedELBO(beta=2.0), TemperedELBO(free_bits=0.1), ImportanceWeightedELBO(4)],
    ids=["beta", "bits", "iwae"],
)
def test_every_objective_trains_a_convolutional_vae(objective):
    from pyrogen.nn import ConvDecoder, ConvEncoder

    shape = (1, 8, 8)
    story = VAE(shape, 2, encoder=ConvEncoder(shape, 4, (4,)), decoder=ConvDecoder(2, shape, (4,)))
    x = (torch.rand(40, *shape) < 0.3).float()
    run = fit(story, x, epochs=15, optimizer=adam(5e-3), objective=objective)
    assert run.history[-1]["train_elbo"] > run.history[0]["train_elbo"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TemperedELBO(beta=-1.0), "beta must be a number of at least 0, got -1.0"),
        (lambda: TemperedELBO(warmup=math.nan), "warmup must be a number"),
        (lambda: TemperedELBO(free_bits=0.1, base=TraceEnum_ELBO()), "free bits work with"),
        (lambda: ImportanceWeightedELBO(0), "num_particles must be at least 1"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_beta_weighs_a_latent_that_the_guide_enumerates():
    """KL of two coins is 0.0 here only if both their log densities are weighed: the loss must not depend on beta."""

    def model(x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Bernoulli(p), infer={"enumerate": "parallel"})

    p, b = torch.tensor(0.3, requires_grad=True), batch(torch.zeros(5))
    call = (lambda b: model(b.columns["x"], b.n)), (lambda b: guide(b.columns["x"], b.n))
    losses = [
        TemperedELBO(beta=beta, base=TraceEnum_ELBO(max_plate_nesting=1)).differentiable_loss(*call, b)
        for beta in (1.0, 4.0)
    ]
    assert float(losses[0].detach()) == pytest.approx(float(losses[1].detach()))


def test_tempering_a_latent_shared_by_all_data_is_no_wrong_scale():
    x = torch.randn(60)
    for objective in (TemperedELBO(beta=4.0), TemperedELBO(warmup=3), TemperedELBO(free_bits=0.1)):
        assert len(fit(Location(), x, epochs=2, batch_size=20, objective=objective).history) == 2


@pytest.mark.parametrize("family", [Diffusion, Flow])
def test_weighing_latents_where_none_is_scored_is_refused(family):
    with pytest.raises(ValueError, match="this guide draws none that is scored: leave objective out"):
        fit(family(2), torch.randn(30, 2), epochs=1, objective=TemperedELBO(beta=4.0))


def test_the_full_chain_of_a_diffusion_has_latents_to_weigh():
    story = Diffusion(2, num_timesteps=5, timesteps_per_datum=None, hidden=(4,))
    run = fit(story, torch.randn(30, 2), epochs=1, objective=TemperedELBO(beta=4.0))
    assert math.isfinite(run.history[-1]["train_elbo"])


def test_free_bits_with_an_autoguide_of_one_joint_latent():
    def model(x, n):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    run = fit((model, AutoMultivariateNormal(model)), torch.randn(6), steps=3, objective=TemperedELBO(free_bits=0.1))
    assert math.isfinite(run.history[-1]["train_elbo"])


@pytest.mark.free_store
def test_a_tempered_objective_trains_under_stock_svi():
    story = Pairs()
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 0.01}), TemperedELBO(beta=2.0))
    before = story.mean.detach().clone()
    svi.step(X, len(X))
    assert not torch.equal(before, story.mean)
    with pytest.raises(TypeError, match="trains under pyrogen's fit"):
        SVI(story.model, story.guide, pyro.optim.Adam({"lr": 0.01}), ImportanceWeightedELBO(3)).step(X, len(X))
