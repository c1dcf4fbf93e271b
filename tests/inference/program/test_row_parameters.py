"""Latents and parameters of rows with mini-batches: right, or refused before a step with advice that works."""

import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pyrogen import fit
from pyrogen.inference import adam, cosine, posterior

Y = torch.arange(24.0)
OPTIONS = {"batch_size": 6, "steps": 600, "optimizer": adam(0.5), "schedule": cosine(600), "progress": False}


def model(y, total, index):
    with pyro.plate("data", total, subsample=index):
        z = pyro.sample("z", dist.Normal(0.0, 20.0))
        pyro.sample("y", dist.Normal(z, 0.1), obs=y)


def unscaled(y, n):
    with pyro.plate("data", n):
        z = pyro.sample("z", dist.Normal(0.0, 20.0))
        pyro.sample("y", dist.Normal(z, 0.1), obs=y)


def plates(y, total, index):
    return pyro.plate("data", total, subsample=index)


def by_place(y, total, index):
    loc = pyro.param("loc", torch.zeros(6))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc, 1.0))


def by_place_in_a_column(y, total, index):
    loc = pyro.param("loc", torch.zeros(6, 1))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc[:, 0] + y, 1.0))


def by_row(y, total, index):
    loc = pyro.param("loc", torch.zeros(24))
    scale = pyro.param("scale", torch.ones(24), constraint=dist.constraints.positive)
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc[index], scale[index]))


def amortized():
    """A network whose hidden layer has as many units as a batch has rows."""
    net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1))

    def guide(y, total, index):
        pyro.module("net", net)
        with pyro.plate("data", total, subsample=index):
            pyro.sample("z", dist.Normal(net(y[:, None] / 24)[:, 0], 1.0))

    return guide


@pytest.mark.parametrize("make", [AutoNormal, AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal])
def test_an_autoguide_without_the_rows_is_refused_with_what_works(make):
    with pytest.raises(ValueError, match="latent 'z' belongs to single rows, batches hold 6 of 24") as refusal:
        fit((model, make(model)), Y, **OPTIONS)
    advice = re.search(r"create_plates=(lambda .*?subsample=index\))", str(refusal.value)).group(1)
    guide = AutoNormal(model, create_plates=eval(advice, {"pyro": pyro}))
    run = fit((model, guide), Y, **OPTIONS)
    means = posterior(run, Y, 50, seed=0)["z"].mean(0)
    assert means.shape == (24,)
    assert float((means - Y).abs().max()) < 1


@pytest.mark.parametrize("make", [AutoNormal, AutoNormalMessenger, AutoMultivariateNormal])
def test_a_plate_that_is_not_scaled_is_refused(make):
    with pytest.raises(ValueError, match=r"'z' belongs to single rows.*plate\(\"data\", total, subsample=index\)"):
        fit((unscaled, make(unscaled)), Y, **OPTIONS)


@pytest.mark.parametrize("make", [AutoNormal, AutoDelta])
def test_an_autoguide_that_knows_the_rows(make):
    run = fit((model, make(model, create_plates=plates)), Y, **OPTIONS)
    assert float((posterior(run, Y, 50, seed=0)["z"].mean(0) - Y).abs().max()) < 1


def test_a_messenger_runs_inside_the_models_plates():
    run = fit((model, AutoNormalMessenger(model)), Y, **OPTIONS)
    assert float((posterior(run, Y, 50, seed=0)["z"].mean(0) - Y).abs().max()) < 1


def by_place_at_random(y, total, index):
    loc = pyro.param("loc", lambda: torch.randn(6))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc, 1.0))


def by_place_of_the_first_rows(y, total, index):
    loc = pyro.param("loc", torch.zeros(24))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc[: len(y)], 1.0))


def by_place_counted(y, total, index):
    loc = pyro.param("loc", torch.zeros(24))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc[torch.arange(len(index))] + y, 1.0))


def by_place_of_the_last_rows(y, total, index):
    loc = pyro.param("loc", torch.zeros(24, 1))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc.flip(0)[: len(y), 0], 1.0))


@pytest.mark.parametrize(
    "guide",
    [
        by_place,
        by_place_in_a_column,
        by_place_at_random,
        by_place_of_the_first_rows,
        by_place_counted,
        by_place_of_the_last_rows,
    ],
)
def test_parameters_by_place_are_refused(guide):
    with pytest.raises(ValueError, match=r"parameter 'loc' of shape .* has a value for each place in the batch"):
        fit((model, guide), Y, **OPTIONS)


def test_a_models_parameters_by_place_are_refused():
    def offset(y, total, index):
        shift = pyro.param("shift", torch.zeros(6))
        with pyro.plate("data", total, subsample=index):
            pyro.sample("y", dist.Normal(shift, 1.0), obs=y)

    with pytest.raises(ValueError, match="parameter 'shift' of shape"):
        fit((offset, lambda y: None), Y, **OPTIONS)


def noisy():
    """A network of as many units as a batch has rows, on rows with noise of their own."""
    net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))

    def guide(y, total, index):
        pyro.module("net", net)
        with pyro.plate("data", total, subsample=index):
            pyro.sample("z", dist.Normal(net((y + torch.randn(len(y)))[:, None] / 24)[:, 0], 1.0))

    return guide


def by_plate(y, total, index):
    """Pyro takes the rows of the plate from a parameter that names its event dimensions."""
    with pyro.plate("data", total, subsample=index):
        loc = pyro.param("loc", torch.zeros(24), event_dim=0)
        pyro.sample("z", dist.Normal(loc, 1.0))


def overflowing(y, total, index):
    """What varied parameters give is not finite, and the same for every row."""
    weights = pyro.param("weights", torch.ones(6))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(y.mul(0.0) + (1e9 * weights.var()).exp().log(), 1.0, validate_args=False))


def by_row_of_all(y, total, index):
    """Each row sees what all rows have, as under a prior that they share."""
    loc = pyro.param("loc", torch.zeros(24))
    with pyro.plate("data", total, subsample=index):
        pyro.sample("z", dist.Normal(loc[index] - loc.mean(), 1.0))


@pytest.mark.parametrize(
    "guide",
    [by_row, by_plate, by_row_of_all, overflowing, amortized(), noisy()],
    ids=["by row", "by plate", "by row of all", "overflowing", "amortized", "noisy"],
)
def test_parameters_by_row_and_networks_pass(guide):
    run = fit((model, guide), Y, **{**OPTIONS, "steps": 3, "schedule": None})
    assert len(run.history) == 1


def test_a_whole_batch_may_have_a_parameter_for_each_row():
    def guide(y, total, index):
        loc = pyro.param("loc", torch.zeros(24))
        with pyro.plate("data", total, subsample=index):
            pyro.sample("z", dist.Normal(loc, 1.0))

    assert fit((model, guide), Y, steps=2, progress=False).history


def test_a_loader_is_advised_what_it_can_do():
    def shared(y, n, total):
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        with pyro.plate("data", n):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    def scaled(y, n, total):
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        with pyro.plate("data", total, subsample_size=n):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    loader = DataLoader(TensorDataset(torch.randn(40)), batch_size=8)
    with pytest.raises(ValueError, match=r'plate\("data", total, subsample_size=n\)') as refusal:
        fit((shared, AutoNormal(shared)), loader, steps=2, progress=False)
    assert "index" not in str(refusal.value)
    assert "batch_size" not in str(refusal.value)
    run = fit((scaled, AutoNormal(scaled)), loader, epochs=600, optimizer=adam(0.02), schedule=cosine(3000))
    assert float(posterior(run, torch.zeros(8), 2000)["mu"].std()) == pytest.approx(40**-0.5, rel=0.2)
