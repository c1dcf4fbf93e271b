"""Eight schools and small models under Pyro's guides: centered or not, EasyGuide, lists, Laplace, flows, messengers."""

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib.easyguide import EasyGuide
from pyro.distributions import constraints
from pyro.distributions.transforms import affine_autoregressive, iterated
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalizingFlow,
    AutoNormalMessenger,
)
from pyro.poutine import block

from tests.helpers.foreign_programs.foreign import Foreign, enum_elbo, generator

SCHOOLS = {
    "sigma": torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18]),
    "y": torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12]),
}


def centered_model(sigma, y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.HalfCauchy(torch.tensor(5.0)))
    with pyro.plate("schools", len(sigma)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def noncentered_model(sigma, y=None):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.LogNormal(0.0, 1.0))
    with pyro.plate("schools", len(sigma)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * eta)
        return pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def shared_model(sigma, y):
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.LogNormal(0.0, 1.0))
    with pyro.plate("schools", len(sigma)):
        pyro.sample("y", dist.Normal(mu, (sigma**2 + tau**2).sqrt()), obs=y)


class HalfByHand(EasyGuide):
    """A point for tau, a joint normal for the rest."""

    def guide(self, sigma, y):
        self.map_estimate("tau")
        rest = self.group(match="mu|eta")
        size = torch.Size(rest.event_shape)
        loc = pyro.param("loc", lambda: torch.randn(size))
        scale = pyro.param("scale", lambda: torch.full(size, 0.2), constraint=constraints.positive)
        rest.sample("joint", dist.Normal(loc, scale).to_event(1))


def listed():
    guide = AutoGuideList(noncentered_model)
    guide.append(AutoNormal(block(noncentered_model, hide=["tau", "theta"])))
    guide.append(AutoDelta(block(noncentered_model, expose=["tau"])))
    return noncentered_model, guide


def under(model, guide):
    """A maker of a model under an automatic guide."""
    return lambda: (model, guide(model))


def flow(model):
    return AutoNormalizingFlow(model, functools.partial(iterated, 1, affine_autoregressive, hidden_dims=[4]))


def zero_or_gamma():
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x)):
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.4, 0.6])), infer={"enumerate": "parallel"})
            positive = dist.Gamma(torch.tensor([1.0, 3.0])[kind], rate)
            pyro.sample("x", dist.MaskedMixture(x == 0, positive, dist.Delta(torch.tensor(0.0))), obs=x)

    return model, AutoDelta(block(model, expose=["rate"]))


def zero_or_gamma_likelihood(latents, data):
    x = data["x"]
    kinds = dist.Gamma(torch.tensor([1.0, 3.0]), latents["rate"]).log_prob(x.clamp(min=1e-3)[:, None])
    mixed = (kinds + torch.tensor([0.4, 0.6]).log()).logsumexp(-1)
    return {"x": torch.where(x == 0, torch.zeros(()), mixed)}


def amounts():
    x = torch.rand(20, generator=generator(0)) + 0.1
    x[::3] = 0
    return x


def without_data():
    """A banana, as it is flattened before NUTS."""

    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.Normal(a**2, 0.3))

    return model, AutoMultivariateNormal(model, init_scale=0.1)


def own_n():
    def model(n, k):
        rate = pyro.sample("rate", dist.Beta(2.0, 2.0))
        with pyro.plate("series", len(k)):
            pyro.sample("k", dist.Binomial(n, rate), obs=k)

    def guide(n, k):
        a = pyro.param("a", torch.tensor(5.0), constraint=constraints.positive)
        b = pyro.param("b", torch.tensor(5.0), constraint=constraints.positive)
        pyro.sample("rate", dist.Beta(a, b))

    return model, guide


TRIALS = torch.randint(5, 20, (25,), generator=generator(1)).float()
SUCCESSES = (TRIALS * 0.3).round()

DEPENDENT = {"plate": "schools", "given": ("sigma",)}
PROGRAMS = [
    Foreign("eight schools, centered", under(centered_model, AutoDiagonalNormal), SCHOOLS, **DEPENDENT),
    Foreign("eight schools, non-centered", under(noncentered_model, AutoMultivariateNormal), SCHOOLS, **DEPENDENT),
    Foreign("EasyGuide", lambda: (noncentered_model, HalfByHand(noncentered_model)), SCHOOLS, **DEPENDENT),
    Foreign("AutoGuideList", listed, SCHOOLS, **DEPENDENT),
    Foreign("AutoLaplaceApproximation", under(shared_model, AutoLaplaceApproximation), SCHOOLS, **DEPENDENT),
    Foreign("AutoNormalizingFlow", under(shared_model, flow), SCHOOLS, **DEPENDENT),
    Foreign("AutoNormalMessenger", under(noncentered_model, AutoNormalMessenger), SCHOOLS, **DEPENDENT),
    Foreign(
        "AutoDelta, MaskedMixture",
        zero_or_gamma,
        {"x": amounts()},
        objective=enum_elbo(1),
        likelihood=zero_or_gamma_likelihood,
        refuses={"sample": "draws depend on the values of placeholders.*posterior_predictive"},
    ),
    Foreign(
        "density without data",
        without_data,
        None,
        plate=None,
        rows=1,
        refuses={"sample": "observes no data, and none can be drawn"},
    ),
    Foreign(
        "beta-binomial with an argument n",
        own_n,
        (TRIALS, SUCCESSES),
        plate="series",
        refuses={"sample": "draws depend on the values of placeholders.*posterior_predictive"},
    ),
]
