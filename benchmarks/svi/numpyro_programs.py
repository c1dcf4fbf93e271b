"""The cases told in NumPyro; read by its own process, which needs neither torch nor Pyro."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.infer import Trace_ELBO, TraceGraph_ELBO, init_to_feasible
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

__all__ = ["program"]

Start = dict[str, Array]


def mean_field(model: Any) -> tuple[Any, Any, Any]:
    """A model with a mean-field guide that starts where Pyro's does."""
    return model, AutoNormal(model, init_loc_fn=init_to_feasible, init_scale=0.1), Trace_ELBO()


def schools(sigma: Array, y: Array) -> None:
    """Eight schools."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("data", len(y)):
        eta = numpyro.sample("eta", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)


def regression(x: Array, y: Array) -> None:
    """Linear regression."""
    w = numpyro.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
    b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(x @ w + b, s), obs=y)


def scaled_regression(x: Array, y: Array) -> None:
    """Linear regression on a batch of 10,000 rows."""
    w = numpyro.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
    b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.handlers.scale(scale=10_000 / len(y)), numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(x @ w + b, s), obs=y)


def groups(group: Array, floor: Array, y: Array) -> None:
    """A level for each of 400 groups, and one slope."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 10.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("groups", 400):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(mu + tau * level[group] + slope * floor, sigma), obs=y)


def mixture(x: Array) -> None:
    """The same density as by enumeration, summed over components by the distribution."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    with numpyro.plate("components", 3):
        centre = numpyro.sample("centre", dist.Normal(0.0, 10.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with numpyro.plate("data", len(x)):
        parts = dist.Normal(centre, scale)
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=x)


def _parameters(start: Start, prefix: str) -> Start:
    return {name: numpyro.param(name, value) for name, value in start.items() if name.startswith(prefix)}


def _dense(start: Start, prefix: str, x: Array) -> Array:
    p = _parameters(start, f"{prefix}$$$")
    layers = sorted({int(name.split("$$$")[1].split(".")[0]) for name in p})
    for i in layers:
        x = (x if i == 0 else jax.nn.relu(x)) @ p[f"{prefix}$$${i}.weight"].T + p[f"{prefix}$$${i}.bias"]
    return x


def _normal(outputs: Array) -> Any:
    loc, log_scale = jnp.split(outputs, 2, -1)
    return dist.Normal(loc, jnp.exp(log_scale)).to_event(1)


def _bits(start: Start) -> tuple[Any, Any, Any]:
    def linear(prefix: str, x: Array) -> Array:
        p = _parameters(start, f"{prefix}$$$")
        return x @ p[f"{prefix}$$$weight"].T + p[f"{prefix}$$$bias"]

    def model(x: Array) -> None:
        logits = numpyro.param("prior", start["prior"])
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=linear("decoder", z)).to_event(1), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", dist.Bernoulli(logits=linear("encoder", x)).to_event(1))

    return model, guide, TraceGraph_ELBO()


def _hierarchical(start: Start) -> tuple[Any, Any, Any]:
    def model(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z2 = numpyro.sample("z2", dist.Normal(jnp.zeros(10), 1.0).to_event(1))
            z1 = numpyro.sample("z1", _normal(_dense(start, "decoder2", z2)))
            numpyro.sample("x", dist.Bernoulli(logits=_dense(start, "decoder1", z1)).to_event(1), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z1 = numpyro.sample("z1", _normal(_dense(start, "encoder1", x)))
            numpyro.sample("z2", _normal(_dense(start, "encoder2", z1)))

    return model, guide, Trace_ELBO()


_conv = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=("NCHW", "OIHW", "NCHW"))


def _conv_encoder(start: Start, x: Array) -> Array:
    p = _parameters(start, "encoder$$$")
    for i in (0, 2):
        x = _conv(x, p[f"encoder$$${i}.weight"], (2, 2), ((1, 1), (1, 1)))
        x = jax.nn.relu(x + p[f"encoder$$${i}.bias"][:, None, None])
    return x.reshape(len(x), -1) @ p["encoder$$$5.weight"].T + p["encoder$$$5.bias"]


def _conv_decoder(start: Start, z: Array) -> Array:
    p = _parameters(start, "decoder$$$")
    x = (z @ p["decoder$$$0.weight"].T + p["decoder$$$0.bias"]).reshape(-1, 32, 7, 7)
    for i in (3, 5):
        kernel = jnp.flip(p[f"decoder$$${i}.weight"], (2, 3)).swapaxes(0, 1)
        x = _conv(jax.nn.relu(x), kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))
        x = x + p[f"decoder$$${i}.bias"][:, None, None]
    return x


def _autoencoder(start: Start, latent: int, encoder: Any, decoder: Any, event: int) -> tuple[Any, Any, Any]:
    def model(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(latent), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=decoder(start, z)).to_event(event), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", _normal(encoder(start, x)))

    return model, guide, Trace_ELBO()


def program(case: str, start: Start) -> tuple[Any, Any, Any]:
    """Model, guide and objective of a case; networks start from `start`."""
    plain = {"eight_schools": schools, "gaussian_mixture": mixture, "scaled_regression": scaled_regression}
    if case == "groups":
        guide = AutoMultivariateNormal(groups, init_loc_fn=init_to_feasible, init_scale=0.1)
        return groups, guide, Trace_ELBO()
    if case in plain or case.startswith("regression"):
        return mean_field(plain.get(case, regression))
    if case == "bernoulli_latent":
        return _bits(start)
    if case == "hierarchical_vae":
        return _hierarchical(start)
    if case.startswith("conv_vae"):
        return _autoencoder(start, start["decoder$$$0.weight"].shape[1], _conv_encoder, _conv_decoder, 3)
    encoder, decoder = (functools.partial(_flipped, name) for name in ("encoder", "decoder"))
    return _autoencoder(start, start["decoder$$$0.weight"].shape[1], encoder, decoder, 1)


def _flipped(prefix: str, start: Start, x: Array) -> Array:
    return _dense(start, prefix, x)
