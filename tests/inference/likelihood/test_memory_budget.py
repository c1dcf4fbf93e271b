"""The number of rows in a run, by the tensors that programs allocate for each row."""

from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story, fit
from pyrogen.distributions import NormalMixture
from pyrogen.inference import NoWeights, codes, held_out_elbo, log_likelihood, log_weights
from pyrogen.inference.likelihood import memory_budget
from pyrogen.inference.likelihood.marginal_likelihood import log_weight_run
from pyrogen.inference.likelihood.memory_budget import max_rows
from pyrogen.inference.program.program import Program
from pyrogen.models import VAE, Diffusion, Flow
from pyrogen.story import Batch

ELEMENTS = memory_budget.ELEMENTS


def at_once(story, x):
    rows = Batch({"x": x}, len(x), len(x), torch.arange(len(x)))
    return max_rows(story, log_weight_run(Program(story)), rows)


class RowCountingVAE(VAE):
    """Records the largest number of rows that its guide is run on."""

    def guide(self, x, n):
        self.max_rows = max(getattr(self, "max_rows", 0), n)
        super().guide(x, n)


@pytest.mark.parametrize("width", [300, 5000])
def test_the_widest_layer_counts_and_parameters_do_not(width):
    assert at_once(VAE(10, 2, hidden=(width,)), torch.zeros(100, 10)) == ELEMENTS // width


def test_narrow_rows_count_for_a_minimum_of_elements():
    assert at_once(VAE(10, 2, hidden=(5,)), torch.zeros(100, 10)) == ELEMENTS // 256


def test_columns_count_where_a_program_accepts_only_all_rows():
    class Fixed(VAE):
        def guide(self, x, n):
            assert n == 6
            super().guide(x, n)

    assert at_once(Fixed(1000, 2, hidden=(5000,)), torch.zeros(6, 1000)) == ELEMENTS // 1000


def test_a_program_with_other_operations_for_more_rows():
    class Uneven(VAE):
        def model(self, x, n):
            for i in range(n):
                x[i].expand(7, -1)
                torch.ones(700 * n).exp()
            return super().model(x, n)

    assert at_once(Uneven(784, 2, hidden=(40,)), torch.zeros(600, 784)) == ELEMENTS // 784


def test_log_densities_count():
    assert at_once(VAE(10, 2, prior=NormalMixture(2, 500), hidden=(20,)), torch.zeros(100, 10)) < ELEMENTS // 900


def test_fewer_rows_than_the_measurement_uses():
    assert at_once(VAE(10, 2, hidden=(5000,)), torch.zeros(1, 10)) == ELEMENTS // 5000


def test_a_sparse_tensor_is_ignored():
    class Sparse(VAE):
        def model(self, x, n):
            torch.eye(n).to_sparse().coalesce()
            return super().model(x, n)

    assert at_once(Sparse(10, 2, hidden=(5000,)), torch.zeros(100, 10)) == ELEMENTS // 5000


def test_an_autoguide_is_initialized_with_all_rows():
    class OfEach(Story):
        def __init__(self):
            super().__init__()
            self.guide = AutoNormal(self.model)

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    assert codes(OfEach(), torch.randn(20)).shape == (20,)
    assert log_weights(OfEach(), torch.randn(20), 3).shape == (3, 20)


def test_measuring_has_no_side_effects():
    encoder = nn.Sequential(nn.LazyLinear(8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    story, x = VAE(10, 2, encoder=encoder), torch.rand(100, 10)
    encoder(x)
    before = torch.get_rng_state(), {name: value.clone() for name, value in story.state_dict().items()}
    at_once(story, x)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in story.state_dict().items())


def test_no_run_takes_more_rows(monkeypatch):
    x = torch.bernoulli(torch.full((100, 10), 0.5))
    monkeypatch.setattr(memory_budget, "ELEMENTS", 20 * 500)
    for ask in (lambda s: log_weights(s, x, 1), lambda s: log_likelihood(s, x, 3), lambda s: codes(s, x)):
        story = RowCountingVAE(10, 2, hidden=(500,))
        ask(story)
        assert story.max_rows == 20


def test_an_exact_density_is_computed_in_chunks_of_rows(monkeypatch):
    class RowCountingFlow(Flow):
        def log_prob(self, x):
            self.max_rows = max(getattr(self, "max_rows", 0), len(x))
            return super().log_prob(x)

    story, x = RowCountingFlow(2), torch.randn(100, 2)
    whole = log_likelihood(story, x, 1).value
    monkeypatch.setattr(memory_budget, "ELEMENTS", 256 * 20)
    story.max_rows = 0
    assert torch.allclose(log_likelihood(story, x, 1).value, whole, atol=1e-5)
    assert story.max_rows <= 20


def test_a_held_out_elbo_takes_batches_of_rows():
    class RowCountingDiffusion(Diffusion):
        def guide(self, x, n):
            self.max_rows = max(getattr(self, "max_rows", 0), n)
            super().guide(x, n)

    story, x = RowCountingDiffusion(2, num_timesteps=5), torch.randn(1000, 2)
    with pytest.raises(NoWeights):
        log_likelihood(story, x)
    story.max_rows = 0
    held_out_elbo(story, x, 1)
    assert story.max_rows == 256


@pytest.mark.parametrize("local", [False, True])
def test_a_held_out_elbo_of_a_program_of_fixed_rows(local):
    x = torch.randn(300)

    def model(x):
        plate = pyro.plate("data", 300)
        with plate if local else nullcontext():
            mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with plate:
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    def guide(x):
        assert len(x) == 300
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", 300) if local else nullcontext():
            pyro.sample("mu", dist.Normal(loc, 0.1))

    run = fit((model, guide), x, steps=2, batch_size=300)
    assert held_out_elbo(run, x, 2)[0] < 0
