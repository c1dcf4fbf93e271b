"""Latents that all data share, whose posterior is known, under a guide that is exact or wrong in a known way."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal

from pyrogen import Story, fit
from tests.helpers.stories import Location


def location(x, c):
    """A fit of `Location`, whose guide is the exact posterior but c times as wide."""
    run = fit(Location(), {"x": x}, steps=1, progress=False)
    with torch.no_grad():
        run.story.guide.locs.mu.copy_(x.sum() / (len(x) + 0.01))
        run.story.guide.scales.mu = torch.tensor(c / math.sqrt(len(x) + 0.01))
    return run


class Line(Story):
    """Two coefficients that all data share, whose posterior is normal and correlated."""

    def __init__(self, guide):
        super().__init__()
        self.guide = guide(self.model)

    def model(self, x, y, total, index):
        beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 10.0).to_event(1))
        with pyro.plate("data", total, subsample=index):
            return pyro.sample("y", dist.Normal(beta[..., 0] + beta[..., 1] * x, 1.0), obs=y)


def line(guide, x):
    """A fit of `Line` with the exact posterior as its guide, or the best mean-field one."""
    y = 1 + x + torch.randn(len(x))
    run = fit(Line(guide), {"x": x, "y": y}, steps=1, progress=False)
    design = torch.stack([torch.ones_like(x), x], 1)
    precision = design.T @ design + torch.eye(2) / 100
    mean, fitted = torch.linalg.solve(precision, design.T @ y), run.story.guide
    with torch.no_grad():
        if guide is AutoDelta:
            fitted.beta.copy_(mean)
        elif guide is AutoNormal:
            fitted.locs.beta.copy_(mean)
            fitted.scales.beta = precision.diagonal() ** -0.5
        else:
            scale = torch.linalg.cholesky(torch.linalg.inv(precision))
            fitted.loc.copy_(mean)
            fitted.scale = scale.diagonal()
            fitted.scale_tril = scale / scale.diagonal()[:, None]
    return run, {"x": x, "y": y}, precision
