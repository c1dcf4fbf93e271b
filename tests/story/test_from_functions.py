"""Existing Pyro code as a pair of plain functions."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from torch import nn

from pyrogen import fit
from pyrogen.inference import adam
from tests.helpers.stories import Topics, coin_guide, coin_model, schools, schools_model


def test_a_pair_with_pyro_param_finds_the_conjugate_posterior():
    flips = (torch.arange(60) % 3 == 0).float()
    run = fit((coin_model, coin_guide), flips, steps=1500, optimizer=adam(0.02))
    # Beta(2 + 20, 2 + 40): mean 22/64.
    store = run.story.trainable()
    a, b = store["a"].detach().exp(), store["b"].detach().exp()
    assert abs(float(a / (a + b)) - 22 / 64) < 0.02
    assert len(pyro.get_param_store()) == 0


def test_a_pair_without_an_x_none_path_is_drawn_from_on_placeholders():
    flips = (torch.arange(90) % 3 == 0).float()
    story = fit((coin_model, coin_guide), flips, steps=800, optimizer=adam(0.03)).story
    draws = torch.stack([story.sample(40) for _ in range(30)])
    assert set(draws.unique().tolist()) <= {0.0, 1.0}
    assert abs(float(draws.mean()) - 1 / 3) < 0.08


def test_draws_that_depend_on_a_placeholder_are_refused():
    story = fit((schools_model, AutoNormal(schools_model)), schools(), steps=5).story
    with pytest.raises(ValueError, match="sigma"):
        story.sample(8)
    assert story.sample(8, sigma=schools()["sigma"]).shape == (8,)


def test_modules_that_functions_refer_to_follow_into_evaluation_and_are_saved():
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def model(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(net(torch.ones(len(x), 2)), 1.0).to_event(1), obs=x)

    def guide(x):
        pass

    run = fit((model, guide), torch.randn(32, 2), steps=3)
    assert "model.net.1.running_mean" in run.story.saved_buffers()
    assert net.training
    with run.story.predicting():
        assert not net[1].training
    assert net[1].training


def test_modules_as_model():
    class Model(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(self.loc, 1.0), obs=x)

    model = Model()
    fit((model, lambda x: None), torch.randn(100) + 2, steps=400, optimizer=adam(0.02))
    assert abs(float(model.loc.detach()) - 2) < 0.4
    assert len(pyro.get_param_store()) == 0


def test_the_same_functions_fit_twice_do_not_share_parameters():
    first = fit((coin_model, coin_guide), torch.ones(50), steps=300, optimizer=adam(0.05)).story
    second = fit((coin_model, coin_guide), torch.zeros(50), steps=300, optimizer=adam(0.05)).story
    assert first.sample(200).mean() > 0.7
    assert second.sample(200).mean() < 0.3


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match=r"expected a Story or a pair \(model, guide\)"):
        fit(coin_model, torch.ones(3))
    with pytest.raises(TypeError, match="make an instance of it first"):
        fit(Topics, torch.ones(3))


def test_modules_of_owners_containers_and_helpers_are_found_apart():
    class Coder(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def model(self, x):
            pyro.module("decoder", self)
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(self.norm(x), 1.0).to_event(1), obs=x)

        def guide(self, x):
            pyro.module("encoder", self)
            helper(x)

    nets = {"one": nn.BatchNorm1d(2)}

    def helper(x):
        return nets["one"](x)

    decoder, encoder = Coder(), Coder()
    run = fit((decoder.model, encoder.guide), torch.randn(16, 2), steps=2, freeze=["encoder"])
    assert {decoder, encoder, nets["one"]} == set(run.story.called_modules())
    with run.story.predicting():
        assert not decoder.norm.training
        assert not nets["one"].training
