"""Regressions: Gaussian, logistic under a horseshoe, zero-inflated, hierarchical, item responses, censored survival."""

import argparse

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.infer.autoguide import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal

from tests.helpers.foreign_programs.foreign import Foreign, generator


def covariates(rows, columns, seed):
    return torch.randn(rows, columns, generator=generator(seed))


def linear():
    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 2.0).to_event(1))
        offset = pyro.sample("offset", dist.Normal(0.0, 5.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ slope + offset, 0.5), obs=y)

    return model, AutoNormal(model)


def horseshoe():
    def model(features, labels):
        width = features.shape[-1]
        tau = pyro.sample("tau", dist.HalfCauchy(torch.tensor(1.0)))
        with pyro.plate("coefficients", width):
            local = pyro.sample("local", dist.HalfCauchy(torch.tensor(1.0)))
            weight = pyro.sample("weight", dist.Normal(0.0, tau * local))
        with pyro.plate("rows", len(features)):
            pyro.sample("labels", dist.Bernoulli(logits=(features * weight).sum(-1)), obs=labels)

    return model, AutoDiagonalNormal(model, init_scale=0.1)


def zero_inflated():
    def model(x, counts):
        gate = pyro.sample("gate", dist.Beta(1.0, 1.0))
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            rate = (slope * x + offset).exp()
            pyro.sample("counts", dist.ZeroInflatedPoisson(rate, gate=gate), obs=counts)

    return model, AutoMultivariateNormal(model)


def hierarchical():
    def model(county, floor, radon):
        counties = 5
        mean = pyro.sample("mean", dist.Normal(0.0, 3.0))
        spread = pyro.sample("spread", dist.HalfNormal(1.0))
        noise = pyro.sample("noise", dist.HalfNormal(1.0))
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("counties", counties):
            level = pyro.sample("level", dist.Normal(mean, spread))
        with pyro.plate("houses", len(county)):
            pyro.sample("radon", dist.Normal(level[county] + slope * floor, noise), obs=radon)

    return model, AutoNormal(model)


def item_responses():
    def model(answers):
        students, items = answers.shape
        with pyro.plate("items", items, dim=-1):
            difficulty = pyro.sample("difficulty", dist.Normal(0.0, 2.0))
            discrimination = pyro.sample("discrimination", dist.LogNormal(0.0, 0.5))
        with pyro.plate("students", students, dim=-2):
            ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
            with pyro.plate("answered", items, dim=-1):
                logits = discrimination * (ability - difficulty)
                pyro.sample("answers", dist.Bernoulli(logits=logits), obs=answers)

    return model, AutoNormal(model)


def survival():
    def model(x, time, censored):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        with pyro.plate("patients", len(x)):
            hazard = dist.Exponential((slope * x + offset).exp())
            with pyro.poutine.mask(mask=~censored):
                pyro.sample("time", hazard, obs=time)
            pyro.factor("still_alive", torch.where(censored, -hazard.rate * time, torch.zeros(())))

    return model, AutoNormal(model)


def survival_likelihood(latents, data):
    rate, time = (latents["slope"] * data["x"] + latents["offset"]).exp(), data["time"]
    zero = torch.zeros(())
    seen = torch.where(data["censored"], zero, rate.log() - rate * time)
    return {"time": seen, "still_alive": torch.where(data["censored"], -rate * time, zero)}


def minibatched():
    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
        with pyro.plate("cases", len(x), subsample_size=8) as chosen:
            pyro.sample("y", dist.Normal(slope * x[chosen], 0.5), obs=y[chosen])

    def guide(x, y):
        loc = pyro.param("loc", torch.tensor(0.0))
        scale = pyro.param("scale", torch.tensor(0.3), constraint=constraints.positive)
        pyro.sample("slope", dist.Normal(loc, scale))

    return model, guide


def with_options():
    def model(x, y, args):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(x.shape[1]), args.prior).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.StudentT(args.freedom, x @ weight, 0.5), obs=y)

    def guide(x, y, args):
        loc = pyro.param("loc", lambda: torch.randn(x.shape[1]))
        scale = pyro.param("scale", 0.1 * torch.ones(x.shape[1]), constraint=constraints.positive)
        pyro.sample("weight", dist.Normal(loc, scale).to_event(1))

    return model, guide


X = covariates(30, 2, 0)
Y = X @ torch.tensor([1.0, -0.5]) + 0.3 + 0.5 * covariates(30, 1, 1)[:, 0]
COUNTS = torch.poisson(X[:, 0].exp(), generator=generator(2)) * (torch.arange(30) % 3 > 0)
COUNTY = torch.arange(30) % 5
TIME = torch.rand(30, generator=generator(3)) + 0.1

PROGRAMS = [
    Foreign("linear regression, AutoNormal", linear, {"x": X, "y": Y}, given=("x",)),
    Foreign(
        "logistic regression, horseshoe",
        horseshoe,
        {"features": X, "labels": (Y > 0).float()},
        plate="rows",
        given=("features",),
    ),
    Foreign("zero-inflated Poisson", zero_inflated, {"x": X[:, 0], "counts": COUNTS}, given=("x",)),
    Foreign(
        "hierarchical regression, two plates",
        hierarchical,
        {"county": COUNTY, "floor": X[:, 1], "radon": Y},
        plate="houses",
        given=("county", "floor"),
    ),
    Foreign("item response theory", item_responses, {"answers": (covariates(12, 4, 4) > 0).float()}, plate="students"),
    Foreign(
        "survival, censored by pyro.factor",
        survival,
        {"x": X[:, 0], "time": TIME, "censored": TIME > 0.9},
        plate="patients",
        given=("x", "censored"),
        likelihood=survival_likelihood,
    ),
    Foreign(
        "mini-batches drawn by the plate",
        minibatched,
        {"x": X[:, 0], "y": Y},
        plate="cases",
        refuses={"sample": "pass the columns that it conditions on", "to_datatree": "'cases' chooses its own rows"},
    ),
    Foreign(
        "options in a Namespace",
        with_options,
        {"x": X, "y": Y},
        arguments={"args": argparse.Namespace(prior=2.0, freedom=5.0)},
        given=("x",),
        refuses={"compile": "argument 'args' is a Namespace"},
    ),
]
