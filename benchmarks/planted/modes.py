"""Posteriors with two modes, fitted from four starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor

from pyrogen.inference import Fit, adam, cosine, fit_restarts

STARTS = 4


def squared(y: Tensor) -> None:
    """y ~ N(t squared, .5)."""
    t = pyro.sample("t", dist.Normal(0.3, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(t**2, 0.5), obs=y)


def labelled(y: Tensor) -> None:
    """A mixture of two normals, without an order of its components."""
    with pyro.plate("components", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(loc, 0.5)), obs=y)


def two_modes(seed: int) -> tuple[list[Fit], dict[str, Tensor]]:
    """Fits of `squared` with data of t = 1.1."""
    torch.manual_seed(seed)
    return _fits(squared, AutoMultivariateNormal, {"y": 1.2 + 0.5 * torch.randn(20)}, 300, seed)


def switching_labels(seed: int) -> tuple[list[Fit], dict[str, Tensor]]:
    """Fits of `labelled` with components at -3 and 3."""
    torch.manual_seed(seed)
    y = torch.cat([torch.randn(30) * 0.5 - 3, torch.randn(30) * 0.5 + 3])
    return _fits(labelled, AutoNormal, {"y": y}, 500, seed)


def _fits(
    model: Callable[[Tensor], None], make: Callable[[Any], Any], data: dict[str, Tensor], steps: int, seed: int
) -> tuple[list[Fit], dict[str, Tensor]]:
    options: dict[str, Any] = {"steps": steps, "optimizer": adam(0.05), "schedule": cosine(steps), "progress": False}
    return fit_restarts(lambda: (model, make(model)), data, STARTS, seed=seed, **options), data
