"""The small cases: a few parameters, a step bound by the number of operations."""

from __future__ import annotations

import functools
import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from torch.nn import functional

from svi.case import Case, Columns, Parameters

__all__ = ["FEATURES", "STATISTICAL", "regression_data"]

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
FEATURES, COMPONENTS, BITS, WORDS = 10, 3, 8, 32


def one_vector(initial: Parameters) -> Parameters:
    """The locations of a mean-field guide in one vector, the raw scales in another: fewer operations."""
    parts = {"loc": ".locs.", "raw_scale": ".scales."}
    return {
        name: torch.cat([p.reshape(-1) for site, p in initial.items() if part in site]) for name, part in parts.items()
    }


def mean_field(p: Parameters) -> tuple[Tensor, Tensor]:
    """A draw of all unconstrained latents, and its log density."""
    scale = functional.softplus(p["raw_scale"])
    noise = torch.randn_like(scale)
    log_q = -(scale.log() + 0.5 * noise * noise).sum() - noise.numel() * HALF_LOG_TWO_PI
    return torch.addcmul(p["loc"], scale, noise), log_q


def log_normal(error: Tensor, log_scale: Tensor | float = 0.0) -> Tensor:
    """The summed log density of normal draws whose errors are in units of their scale."""
    size = error.numel()
    spread = log_scale.sum() * (size / log_scale.numel()) if isinstance(log_scale, Tensor) else log_scale * size
    return -0.5 * (error * error).sum() - spread - size * HALF_LOG_TWO_PI


# Eight schools


def schools_data() -> Columns:
    """The eight schools' effects and standard errors (Rubin 1981)."""
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    return {"sigma": sigma, "y": torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])}


def schools_program() -> tuple[Any, Any]:
    """Non-centred, with a mean-field guide."""

    def model(sigma: Tensor, y: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("data", len(y)):
            eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)

    return model, AutoNormal(model)


def schools_loss(p: Parameters, sigma: Tensor, y: Tensor) -> Tensor:
    """By hand."""
    u, log_q = mean_field(p)
    mu, log_tau, eta = u[0], u[1], u[2:]
    tau = log_tau.exp()
    log_p = log_normal(mu / 5, math.log(5)) + math.log(2 / (5 * math.pi)) - torch.log1p((tau / 5) ** 2) + log_tau
    log_p = log_p + log_normal(eta) + log_normal((y - mu - tau * eta) / sigma, sigma.log())
    return log_q - log_p


# Linear regression


def regression_data(rows: int) -> Columns:
    """Rows of ten features and a response."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, FEATURES, generator=generator)
    y = x @ torch.linspace(-1, 1, FEATURES) + 0.5 + 0.3 * torch.randn(rows, generator=generator)
    return {"x": x, "y": y}


def regression_program() -> tuple[Any, Any]:
    """Bayesian, its scale unknown, with a mean-field guide."""

    def model(x: Tensor, y: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(FEATURES), 1.0).to_event(1))
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        s = pyro.sample("s", dist.HalfNormal(1.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(x @ w + b, s), obs=y)

    return model, AutoNormal(model)


def regression_loss(p: Parameters, x: Tensor, y: Tensor) -> Tensor:
    """By hand."""
    u, log_q = mean_field(p)
    w, b, log_s = u[:FEATURES], u[FEATURES], u[FEATURES + 1]
    s = log_s.exp()
    priors = log_normal(u[: FEATURES + 1]) + math.log(2) + log_normal(s) + log_s
    return log_q - priors - log_normal((y - torch.mv(x, w) - b) / s, log_s)


# Gaussian mixture


def mixture_data() -> Columns:
    """Two hundred numbers from three normals."""
    generator = torch.Generator().manual_seed(2)
    centre = torch.tensor([-3.0, 0.0, 4.0])[torch.randint(COMPONENTS, (200,), generator=generator)]
    return {"x": centre + torch.randn(200, generator=generator)}


def mixture_program() -> tuple[Any, Any]:
    """Which component a datum is from is enumerated; weights, centres and scale have a mean-field guide."""

    def model(x: Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(x.new_ones(COMPONENTS)))
        with pyro.plate("components", COMPONENTS):
            centre = pyro.sample("centre", dist.Normal(0.0, 10.0))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
        with pyro.plate("data", len(x)):
            which = pyro.sample("which", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(centre[which], scale), obs=x)

    return model, AutoNormal(pyro.poutine.block(model, hide=["which"]))


def mixture_loss(p: Parameters, x: Tensor) -> Tensor:
    """By hand; weights by stick breaking."""
    u, log_q = mean_field(p)
    stick, centre, log_scale = u[:2], u[2:5], u[5]
    stick = stick - torch.arange(COMPONENTS - 1, 0, -1, device=x.device).log()
    taken, kept = functional.logsigmoid(stick), functional.logsigmoid(-stick)
    log_weights = functional.pad(taken, (0, 1)) + functional.pad(kept.cumsum(0), (1, 0))
    priors = math.log(2) + (kept + log_weights[:-1]).sum()
    priors = priors + log_normal(centre / 10, math.log(10)) + log_normal(log_scale / 2, math.log(2))
    error = (x.unsqueeze(-1) - centre) * (-log_scale).exp()
    joint = log_weights - 0.5 * error * error
    likelihood = joint.logsumexp(-1).sum() - len(x) * (log_scale + HALF_LOG_TWO_PI)
    return log_q - priors - likelihood


# Bernoulli latents


def bits_data() -> Columns:
    """Sixty-four rows of thirty-two zeros and ones."""
    generator = torch.Generator().manual_seed(3)
    return {"x": torch.bernoulli(torch.full((64, WORDS), 0.3), generator=generator)}


def bits_program() -> tuple[Any, Any]:
    """Eight Bernoulli latents for each datum, by REINFORCE; one layer in encoder and decoder."""
    encoder, decoder = nn.Linear(WORDS, BITS), nn.Linear(BITS, WORDS)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        logits = pyro.param("prior", lambda: x.new_zeros(BITS))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=encoder(x)).to_event(1))

    return model, guide


def bits_loss(p: Parameters, x: Tensor) -> Tensor:
    """By hand; the score of each datum's latents is weighted by that datum's ELBO."""
    bce = functools.partial(functional.binary_cross_entropy_with_logits, reduction="none")
    q = functional.linear(x, p["encoder$$$weight"], p["encoder$$$bias"])
    with torch.no_grad():
        z = torch.bernoulli(torch.sigmoid(q))
    logits = functional.linear(z, p["decoder$$$weight"], p["decoder$$$bias"])
    minus_log_q = bce(q, z).sum(-1)
    minus_log_p = bce(p["prior"].expand_as(z), z).sum(-1) + bce(logits, x).sum(-1)
    loss = minus_log_p - minus_log_q.detach()
    return (loss - loss.detach() * (minus_log_q - minus_log_q.detach())).sum()


STATISTICAL = {
    "eight_schools": Case("AutoNormal, 10 latents", schools_data, schools_program, schools_loss, by_hand=one_vector),
    "regression_10": Case(
        "AutoNormal, 10 features, 10 rows",
        functools.partial(regression_data, 10),
        regression_program,
        regression_loss,
        by_hand=one_vector,
    ),
    "regression_1000": Case(
        "AutoNormal, 10 features, 1000 rows",
        functools.partial(regression_data, 1000),
        regression_program,
        regression_loss,
        by_hand=one_vector,
    ),
    "gaussian_mixture": Case(
        "3 components, 200 rows, assignments enumerated, AutoNormal",
        mixture_data,
        mixture_program,
        mixture_loss,
        functools.partial(TraceEnum_ELBO, max_plate_nesting=1),
        one_vector,
    ),
    "bernoulli_latent": Case("8 Bernoulli latents by REINFORCE, 64 rows", bits_data, bits_program, bits_loss),
}
