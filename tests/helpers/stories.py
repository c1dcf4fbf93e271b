"""Small stories and programs that several tests use."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story


class Topics(Story):
    """Word counts: each document mixes a few hidden themes."""

    def __init__(self, words=10, themes=3):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(themes, words), nn.Linear(words, 2 * themes)

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.decoder.in_features), 1.0).to_event(1))
            return pyro.sample("x", dist.Poisson(self.decoder(z).exp()).to_event(1), obs=x)

    def guide(self, x, n):
        mean, log_scale = self.encoder(x.log1p()).chunk(2, dim=-1)
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))


class Location(Story):
    """One latent mean, shared by all data, with an AutoGuide."""

    def __init__(self, subsampled=True):
        super().__init__()
        self.subsampled = subsampled
        self.guide = AutoNormal(self.model)

    def model(self, x, total, index):
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        plate = pyro.plate("data", total, subsample=index) if self.subsampled else pyro.plate("data", len(index))
        with plate:
            return pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


class Mixture(Story):
    """Two Gaussians, which of them is enumerated: no latent is left for the guide."""

    def __init__(self):
        super().__init__()
        self.means = nn.Parameter(torch.tensor([-1.0, 1.0]))
        self.logits = nn.Parameter(torch.tensor([0.2, -0.2]))

    def model(self, x, n):
        with pyro.plate("data", n):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            return pyro.sample("x", dist.Normal(self.means[k], 0.5), obs=x)

    def guide(self, x, n):
        pass

    def log_density(self, x):
        """Log p(x), the sum over k done by hand."""
        return torch.logsumexp(
            torch.log_softmax(self.logits, 0) + torch.distributions.Normal(self.means, 0.5).log_prob(x[:, None]), -1
        )


def schools():
    """The eight schools' effects and their standard errors (Rubin 1981)."""
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    return {"y": y, "sigma": sigma}


def schools_model(sigma, y=None):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(sigma)):
        theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
        return pyro.sample("obs", dist.Normal(mu + tau * theta, sigma), obs=y)


def coin_model(flips):
    """A Beta-Bernoulli program without an x=None path."""
    p = pyro.sample("p", dist.Beta(2.0, 2.0))
    with pyro.plate("flips", len(flips)):
        pyro.sample("flip", dist.Bernoulli(p), obs=flips)


def coin_guide(flips):
    a = pyro.param("a", torch.tensor(3.0), constraint=dist.constraints.positive)
    b = pyro.param("b", torch.tensor(3.0), constraint=dist.constraints.positive)
    pyro.sample("p", dist.Beta(a, b))
