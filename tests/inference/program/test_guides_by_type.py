"""Guides that Pyro treats by their type, or that set themselves up: losses are stock SVI's, posteriors are right."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.easyguide import EasyGuide
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
)
from pyro.nn import PyroModule, PyroParam
from pyro.poutine.guide import GuideMessenger

from pyrogen import Story, fit
from pyrogen.inference import adam, cosine, evaluation_context, log_weights, posterior
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.story import as_story
from tests.helpers.statistics import assert_within

Y = torch.linspace(-1.0, 3.0, 30)


def model(y):
    a = pyro.sample("a", dist.Normal(0.0, 5.0))
    b = pyro.sample("b", dist.LogNormal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(a, b), obs=y)


class Easy(EasyGuide):
    def guide(self, y):
        group = self.group(match="a")
        group.sample("a_aux", dist.Normal(pyro.param("m", lambda: torch.randn(1)), 0.3).to_event(1))
        self.map_estimate("b")


class SetsItselfUp(PyroModule):
    """Draws its initial values in the first run."""

    def __init__(self, _):
        super().__init__()

    def forward(self, y):
        if not hasattr(self, "loc"):
            self.loc = PyroParam(torch.randn(()))
        pyro.sample("a", dist.Normal(self.loc, 0.3))
        pyro.sample("b", dist.LogNormal(0.0, 0.2))


class Own(GuideMessenger):
    """A messenger of the user's own."""

    def get_posterior(self, name, prior):
        loc = pyro.param(f"{name}_loc", torch.tensor(0.5))
        return dist.Normal(loc, 0.1) if name == "a" else dist.LogNormal(loc, 0.1)


def listed(model):
    guide = AutoGuideList(model)
    guide.append(AutoNormal(pyro.poutine.block(model, expose=["a"])))
    guide.append(AutoDelta(pyro.poutine.block(model, expose=["b"])))
    return guide


KINDS = [
    Easy,
    SetsItselfUp,
    Own,
    listed,
    AutoDelta,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoHierarchicalNormalMessenger,
    AutoRegressiveMessenger,
]


@pytest.mark.parametrize("make", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("chosen", [True, False], ids=["objective given", "objective chosen"])
def test_losses_are_stock(make, chosen):
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    svi = SVI(model, make(model), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    stock = [-svi.step(Y) / 30 for _ in range(4)]
    pyro.clear_param_store()
    options = {"objective": Trace_ELBO()} if chosen else {}
    run = fit((model, make(model)), {"y": Y}, steps=4, seed=3, compile=False, progress=False, **options)
    assert [record["train_elbo"] for record in run.history] == pytest.approx(stock, rel=1e-5)


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize("make", [AutoNormal, AutoNormalMessenger, AutoHierarchicalNormalMessenger])
def test_the_posterior_is_of_the_data(make, seed):
    run = fit((conjugate, make(conjugate)), Y, steps=1500, optimizer=adam(0.05), schedule=cosine(1500), seed=seed)
    draws = posterior(run, Y, 4000, seed=seed)["mu"]
    exact = dist.Normal(Y.sum() / 30.01, 30.01**-0.5)
    assert_within(draws.mean(), exact.mean, 0.01)  # 4,000 draws of a guide that is trained to .05 sd
    assert abs(float(draws.std()) / float(exact.stddev) - 1) < 0.1
    with evaluation_context(run, 0) as context:  # a guide draws latents and observes nothing
        trace = pyro.poutine.trace(context.program.guide).get_trace(context.batch(Y))
    assert not any(site["is_observed"] for site in trace.nodes.values() if site["type"] == "sample")


def test_a_messenger_as_the_guide_of_a_story():
    class Mean(Story):
        def __init__(self):
            super().__init__()
            self.guide = AutoNormalMessenger(self.model)

        def model(self, y, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    run = fit(Mean(), {"y": Y}, steps=800, optimizer=adam(0.05), schedule=cosine(800), progress=False)
    exact = dist.Normal(0.0, 2.0**0.5).log_prob(Y)
    weights = log_weights(run, {"y": Y}, 50, seed=0)
    assert float((weights.mean(0) - exact).abs().max()) < 0.05


@pytest.mark.parametrize("make", [AutoNormal, Easy, SetsItselfUp, AutoNormalMessenger], ids=lambda kind: kind.__name__)
def test_an_isolated_run_leaves_a_guide_as_it_was(make):
    guide = make(model)
    story, before = as_story((model, guide)), dict(vars(guide))
    with isolated_run(story):
        story.guide(Y)
    assert dict(vars(guide)) == before
    assert not story.trainable()
