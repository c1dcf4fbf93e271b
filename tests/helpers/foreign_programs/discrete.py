"""Mixtures, score functions, sites that come and go, and one factor whose model and guide move by turns."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import RenyiELBO, TraceGraph_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal

from tests.helpers.foreign_programs.foreign import Foreign, enum_elbo, generator


def by_hand():
    @config_enumerate
    def model(x):
        weights = pyro.param("weights", torch.ones(2) / 2, constraint=constraints.simplex)
        centers = pyro.param("centers", torch.tensor([-1.0, 1.5]))
        with pyro.plate("data", len(x)):
            kind = pyro.sample("kind", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(centers[kind], 0.7), obs=x)

    def guide(x):
        logits = pyro.param("logits", lambda: torch.randn(len(x), 2))
        with pyro.plate("data", len(x)):
            pyro.sample("kind", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})

    return model, guide


def mixture_model(x):
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("components", 3):
        centers = pyro.sample("centers", dist.Normal(0.0, 3.0))
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(centers[kind], scale), obs=x)


def mixture_likelihood(latents, data):
    by_kind = dist.Normal(latents["centers"], latents["scale"]).log_prob(data["x"][:, None])
    return {"x": (by_kind + latents["weights"].log()).logsumexp(-1)}


def blocked():
    return mixture_model, AutoNormal(poutine.block(mixture_model, hide=["kind"]))


class Clusters:
    """Model and guide as decorated methods."""

    def __init__(self, kinds):
        self.kinds = kinds

    @poutine.scale(scale=0.1)
    @config_enumerate(default="parallel")
    def model(self, x):
        with pyro.plate("clusters", self.kinds):
            centers = pyro.sample("centers", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            kind = pyro.sample("kind", dist.Categorical(torch.ones(self.kinds) / self.kinds))
            pyro.sample("x", dist.Normal(centers[kind], 1.0), obs=x)

    @poutine.scale(scale=0.1)
    def guide(self, x):
        loc = pyro.param("loc", lambda: torch.randn(self.kinds))
        with pyro.plate("clusters", self.kinds):
            pyro.sample("centers", dist.Normal(loc, 0.2))


def methods():
    clusters = Clusters(2)
    return clusters.model, clusters.guide


def methods_likelihood(latents, data):
    by_kind = dist.Normal(latents["centers"], 1.0).log_prob(data["x"][:, None])
    return {"x": by_kind.logsumexp(-1) - torch.tensor(2.0).log()}


def switches():
    def model(x):
        with pyro.plate("data", len(x)):
            on = pyro.sample("on", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * on, 1.0), obs=x)

    def guide(x):
        slope, offset = pyro.param("slope", torch.tensor(0.1)), pyro.param("offset", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("on", dist.Bernoulli(logits=slope * x + offset))

    return model, guide


def a_random_number_of_steps():
    """Sites come and go."""

    def model(x):
        total, t = torch.zeros(()), 0
        while t < 3 and pyro.sample(f"more_{t}", dist.Bernoulli(0.7)):
            total = total + pyro.sample(f"step_{t}", dist.Normal(0.0, 1.0))
            t += 1
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(total, 1.0), obs=x)

    def guide(x):
        logits, locs = pyro.param("logits", torch.ones(3)), pyro.param("locs", torch.zeros(3))
        t = 0
        while t < 3 and pyro.sample(f"more_{t}", dist.Bernoulli(logits=logits[t])):
            pyro.sample(f"step_{t}", dist.Normal(locs[t], 0.5))
            t += 1

    return model, guide


def by_turns():
    """The M step moves the model, the E step the guide."""

    def model(x):
        loading = pyro.param("loading", torch.tensor(0.5))
        noise = pyro.param("noise", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(loading * z, noise), obs=x)

    def guide(x):
        slope, scale = pyro.param("slope", torch.tensor(0.1)), pyro.param("scale", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x, scale.exp()))

    return model, guide


X = torch.cat([torch.randn(15, generator=generator(0)) - 2, torch.randn(15, generator=generator(1)) + 2])
IN_PYTHON = "cannot be compiled: it reads the value of a tensor in Python"
COME_AND_GO = "in every draw.*write it with a mask in place of sites that come and go"

PROGRAMS = [
    Foreign("Gaussian mixture, enumerated", by_hand, {"x": X}, objective=enum_elbo(1)),
    Foreign(
        "mixture, AutoNormal without assignments",
        blocked,
        {"x": X},
        objective=enum_elbo(1),
        likelihood=mixture_likelihood,
    ),
    Foreign("decorated methods of a class", methods, {"x": X}, objective=enum_elbo(1), likelihood=methods_likelihood),
    Foreign(
        "TraceGraph_ELBO, Bernoulli latents",
        switches,
        {"x": X},
        objective=TraceGraph_ELBO,
        refuses={"compile": "TraceGraph_ELBO has no differentiable loss"},
    ),
    Foreign(
        "RenyiELBO",
        by_turns,
        {"x": X},
        objective=lambda: RenyiELBO(alpha=0.5, num_particles=4, vectorize_particles=False),
        refuses={"compile": "RenyiELBO has no differentiable loss"},
    ),
    Foreign(
        "a random number of steps",
        a_random_number_of_steps,
        {"x": X},
        refuses={"posterior": COME_AND_GO, "to_datatree": COME_AND_GO, "compile": IN_PYTHON},
    ),
    Foreign("model and guide by turns", by_turns, {"x": X}, rounds=("guide", "model")),
]
