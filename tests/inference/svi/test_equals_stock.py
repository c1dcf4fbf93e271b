"""The losses of `fit` are those of stock SVI at one seed."""

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrogen import fit
from pyrogen.inference import adam
from pyrogen.models import VAE
from tests.helpers.stories import Mixture, Topics, coin_guide, coin_model, schools, schools_model

STEPS = 25


def stock(model, guide, args, elbo, seed):
    """Losses of a stock Pyro loop, undivided."""
    with pyro.get_param_store().scope():
        pyro.set_rng_seed(seed)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), elbo)
        return torch.tensor([svi.step(*args) for _ in range(STEPS)], dtype=torch.float64)


def ours(program, data, n, seed, **options):
    losses = []
    fit(
        program,
        data,
        epochs=STEPS,
        batch_size=n,
        optimizer=adam(0.01),
        seed=seed,
        callbacks=[lambda _, record: losses.append(-record["train_elbo"] * n)],
        **options,
    )
    return torch.tensor(losses, dtype=torch.float64)


def agree(first, second):
    assert torch.allclose(first, second, rtol=1e-6, atol=0), (first / second - 1).abs().max()


@pytest.mark.free_store
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO])
def test_a_story(elbo, seed):
    x = torch.poisson(torch.full((30, 10), 2.0))
    torch.manual_seed(5)
    theirs = Topics()
    torch.manual_seed(5)
    mine = Topics()
    agree(ours(mine, {"x": x}, 30, seed, objective=elbo()), stock(theirs.model, theirs.guide, (x, 30), elbo(), seed))


@pytest.mark.free_store
def test_a_vae_with_several_vectorized_particles(seed):
    x = (torch.rand(20, 1, 4, 4) < 0.5).float()
    torch.manual_seed(5)
    theirs = VAE((1, 4, 4), 2, hidden=(16,))
    torch.manual_seed(5)
    mine = VAE((1, 4, 4), 2, hidden=(16,))
    options = {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 1}
    agree(
        ours(mine, {"x": x}, 20, seed, objective=Trace_ELBO(**options)),
        stock(theirs.model, theirs.guide, (x, 20), Trace_ELBO(**options), seed),
    )


def test_a_pair_with_pyro_param(seed):
    flips = (torch.arange(60) % 3 == 0).float()
    agree(ours((coin_model, coin_guide), flips, 60, seed), stock(coin_model, coin_guide, (flips,), Trace_ELBO(), seed))


@pytest.mark.parametrize("auto", [AutoNormal, AutoMultivariateNormal])
def test_a_pair_with_an_autoguide(auto, seed):
    data = schools()
    mine = ours((schools_model, auto(schools_model)), data, 8, seed)
    agree(mine, stock(schools_model, auto(schools_model), (data["sigma"], data["y"]), Trace_ELBO(), seed))


@pytest.mark.free_store
def test_an_enumerated_story_with_the_objective_left_open(seed):
    x = torch.cat([torch.randn(15) * 0.5 - 2, torch.randn(15) * 0.5 + 2])
    theirs = Mixture()
    agree(ours(Mixture(), x, 30, seed), stock(theirs.model, theirs.guide, (x, 30), TraceEnum_ELBO(), seed))
