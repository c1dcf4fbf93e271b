"""Several fits that share modules: copies or refusals; a later fit never moves an earlier posterior."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from torch import nn

from pyrogen import Story, fit, load
from pyrogen.inference import adam, posterior
from pyrogen.models import PPCA

Y = torch.linspace(3.0, 5.0, 20)
OPTIONS = {"steps": 150, "optimizer": adam(0.05), "progress": False}


def model(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def by_params(y):
    pyro.sample("mu", dist.Normal(pyro.param("m", torch.tensor(1.0)), 0.1))


class Mean(Story):
    """A story whose guide is an AutoGuide of its own model."""

    def __init__(self):
        super().__init__()
        self.guide = AutoNormal(self.model)

    def model(self, y, n):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        with pyro.plate("data", n):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def networks():
    net = nn.Linear(1, 1)

    def guide(y):
        pyro.module("net", net)
        pyro.sample("mu", dist.Normal(net(y.mean()[None])[0], 0.1))

    return guide


@pytest.mark.parametrize("make", [AutoNormal, AutoDelta, AutoMultivariateNormal])
def test_an_autoguide_of_an_earlier_fit_is_refused(make):
    guide = make(model)
    first = fit((model, guide), Y, **OPTIONS)
    before = posterior(first, Y, 20, seed=1)["mu"]
    with pytest.raises(ValueError, match=r"was trained by an earlier fit of .* fit\(run.story, ...\)"):
        fit((model, guide), Y + 9, **OPTIONS)
    assert torch.equal(posterior(first, Y, 20, seed=1)["mu"], before)


def test_a_network_of_an_earlier_fit_is_refused():
    guide = networks()
    fit((model, guide), Y, **OPTIONS)
    with pytest.raises(ValueError, match="'net\\$\\$\\$weight' was trained by an earlier fit"):
        fit((model, guide), Y + 9, **OPTIONS)


def test_two_stories_that_share_a_part_are_refused():
    class Shares(Story):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def model(self, y, n):
            with pyro.plate("data", n):
                pyro.sample("y", dist.Normal(self.part(torch.ones(1))[0], 1.0), obs=y)

        def guide(self, y):
            pass

    part = nn.Linear(1, 1)
    fit(Shares(part), {"y": Y}, **OPTIONS)
    with pytest.raises(ValueError, match=r"'part\.weight' was trained by an earlier fit of Shares"):
        fit(Shares(part), {"y": Y}, **OPTIONS)
    fit(Shares(copy.deepcopy(part)), {"y": Y}, **OPTIONS)


@pytest.mark.parametrize(
    "program",
    [lambda: (model, AutoNormal(model)), lambda: (model, by_params), lambda: (model, networks()), Mean],
    ids=["AutoGuide", "pyro.param", "network", "story"],
)
def test_going_on_leaves_earlier_results_as_they_were(program):
    data, other = ({"y": Y}, {"y": Y + 9}) if program is Mean else (Y, Y + 9)
    first = fit(program(), data, **OPTIONS)
    before = posterior(first, data, 30, seed=1)["mu"]
    second = fit(first.story, other, **OPTIONS)
    after_second = posterior(second, other, 30, seed=1)["mu"]
    third = fit(second.story, data, **OPTIONS)
    assert torch.equal(posterior(first, data, 30, seed=1)["mu"], before)
    assert torch.equal(posterior(second, other, 30, seed=1)["mu"], after_second)
    moved = posterior(third, data, 30, seed=1)["mu"].mean()
    assert abs(float(moved - after_second.mean())) > 0.5
    assert len(second.history) == len(third.history) == 150


def test_a_snapshot_samples_and_saves(tmp_path):
    x = torch.randn(40, 4)
    story = PPCA(4, 2)
    first = fit(story, x, epochs=3, progress=False)
    density = first.story.log_prob(x)
    draws = [torch.manual_seed(0), first.story.sample(5)][1]
    fit(story, x + 5, epochs=20, progress=False)
    assert torch.equal(first.story.log_prob(x), density)
    torch.manual_seed(0)
    assert torch.equal(first.story.sample(5), draws)
    first.save(tmp_path / "first")
    assert torch.equal(load(tmp_path / "first").story.log_prob(x), density)
    assert not torch.equal(story.log_prob(x), density)


def test_a_story_is_trained_in_place():
    guide = AutoNormal(model)
    run = fit((model, guide), Y, **OPTIONS)
    medians = guide.median(Y)
    second = fit(run.story, Y + 9, **OPTIONS)
    assert guide.median(Y)["mu"] > medians["mu"]
    assert second.story is not run.story
