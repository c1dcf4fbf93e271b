"""Guides that are right and not exact, with their posteriors by quadrature.

Each function gives a trained guide of a seed with data of its model, and by how much its moments are off: the largest
distance of a mean in the posterior's standard deviations, and the largest |log| ratio of standard deviations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.infer.autoguide.initialization import init_to_feasible
from torch import Tensor, nn

from pyrogen import Story, fit
from pyrogen.inference import adam, cosine, evaluation_context

GRID = torch.linspace(-9, 9, 6001, dtype=torch.float64)
MEANS, WIDTHS = 0.1, math.log(1.15)


@dataclass(frozen=True)
class Subject:
    """A fit with its data, and how far the guide's moments are from the posterior's."""

    fitted: Any
    data: dict[str, Tensor]
    means_off: float
    widths_off: float

    @property
    def right(self) -> bool:
        """Whether means are within .1 standard deviations, and standard deviations within 15 %."""
        return self.means_off <= MEANS and self.widths_off <= WIDTHS


def counts(x: Tensor) -> None:
    """Gamma-Poisson."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x)


def trials(x: Tensor) -> None:
    """Beta-Bernoulli."""
    p = pyro.sample("p", dist.Beta(2.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(p), obs=x)


def spread(x: Tensor) -> None:
    """Gamma-Normal: the precision of normal data."""
    precision = pyro.sample("precision", dist.Gamma(2.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, precision**-0.5), obs=x)


def _posterior_of_counts(x: Tensor) -> Any:
    return dist.Gamma(2.0 + x.sum(), 0.5 + len(x))


def _posterior_of_trials(x: Tensor) -> Any:
    return dist.Beta(2.0 + x.sum(), 2.0 + len(x) - x.sum())


def _posterior_of_spread(x: Tensor) -> Any:
    return dist.Gamma(2.0 + len(x) / 2, 2.0 + (x**2).sum() / 2)


@dataclass(frozen=True)
class Conjugate:
    """A model with one shared latent, data of a seed, and its posterior."""

    model: Callable[[Tensor], None]
    draw: Callable[[int], Tensor]
    posterior: Callable[[Tensor], Any]


CONJUGATE = {
    "Gamma-Poisson": Conjugate(counts, lambda n: torch.poisson(torch.full((n,), 3.0)), _posterior_of_counts),
    "Beta-Bernoulli": Conjugate(trials, lambda n: (torch.rand(n) < 0.7).float(), _posterior_of_trials),
    "Gamma-Normal": Conjugate(spread, torch.randn, _posterior_of_spread),
}


def conjugate(kind: str, seed: int) -> Subject:
    """AutoNormal or AutoMultivariateNormal, by the seed, on 5 to 40 data."""
    case, make = CONJUGATE[kind], (AutoNormal, AutoMultivariateNormal)[seed % 2]
    pyro.set_rng_seed(seed)
    x = case.draw(5 + 7 * (seed % 6))
    guide, steps = make(case.model, init_loc_fn=init_to_feasible, init_scale=0.3), 500
    options: dict[str, Any] = {"optimizer": adam(0.05), "schedule": cosine(steps), "progress": False}
    options["objective"] = Trace_ELBO(num_particles=16, vectorize_particles=True)
    run = fit((case.model, guide), {"x": x}, steps=steps, seed=seed, **options)
    normal = _normal_of(run, x)
    return Subject(run, {"x": x}, *_off(case, x, normal))


def _normal_of(run: Any, x: Tensor) -> Any:
    """The guide's normal over the unconstrained latent."""
    with evaluation_context(run, 0) as context:
        site = pyro.poutine.trace(context.program.guide).get_trace(context.batch({"x": x}))
    free = next(s for s in site.nodes.values() if s["type"] == "sample" and s["infer"].get("is_auxiliary"))
    mean, variance = free["fn"].mean.detach().double(), free["fn"].variance.detach().double()
    return pyro.distributions.Normal(mean.squeeze(), variance.sqrt().squeeze())


def _off(case: Conjugate, x: Tensor, normal: Any) -> tuple[float, float]:
    """By quadrature over the unconstrained latent, in the coordinates of the latent."""
    posterior = case.posterior(x.double())
    to_support = torch.distributions.transform_to(posterior.support)
    points = normal.mean + normal.stddev * GRID
    weights = normal.log_prob(points).softmax(0)
    z = to_support(points)
    mean = float((weights * z).sum())
    sd = float((weights * (z - mean) ** 2).sum().sqrt())
    exact = float(posterior.mean), float(posterior.variance.sqrt())
    return abs(mean - exact[0]) / exact[1], abs(math.log(sd / exact[1]))


class Amortized(Story):
    """z ~ N(0, 1), x given z Poisson(exp(1 + z)) or Binomial(12, logit z), and a network as guide."""

    def __init__(self, binomial: bool) -> None:
        super().__init__()
        self.binomial = binomial
        self.encoder = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))

    def likelihood(self, z: Tensor) -> Any:
        """Of x given z."""
        return dist.Binomial(12, logits=z) if self.binomial else dist.Poisson((1 + z).exp())

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """Draw or observe x (n,)."""
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(n), 1.0))
            return torch.as_tensor(pyro.sample("x", self.likelihood(z), obs=x))

    def guide(self, x: Tensor, n: int) -> None:
        """Normal, by the network."""
        mean, sd = self.moments(x)
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(mean, sd))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the guide, (n,) each."""
        mean, log_sd = self.encoder(torch.stack([x / 6 - 1, x.log1p()], -1)).unbind(-1)
        return mean, log_sd.exp()


@functools.lru_cache(maxsize=1)
def _trained(binomial: bool, seed: int) -> Any:
    pyro.set_rng_seed(seed)
    story = Amortized(binomial)
    x, steps = story.model(None, 2000).detach(), 3000
    options: dict[str, Any] = {"optimizer": adam(0.005), "schedule": cosine(steps), "progress": False}
    return fit(story, {"x": x}, steps=steps, batch_size=500, seed=seed, **options)


def amortized(binomial: bool, seed: int) -> Subject:
    """One network for ten seeds, with other data for each."""
    run = _trained(binomial, seed // 10)
    pyro.set_rng_seed(seed)
    with torch.no_grad():
        x = run.story.model(None, 300)
        mean, sd = (m.double() for m in run.story.moments(x))
        log_p = dist.Normal(0.0, 1.0).log_prob(GRID) + run.story.likelihood(GRID).log_prob(x[:, None].double())
        p = log_p.softmax(-1)
        exact = (p * GRID).sum(-1)
        exact_sd = (p * (GRID - exact[:, None]) ** 2).sum(-1).sqrt()
    return Subject(
        run, {"x": x}, float(((mean - exact) / exact_sd).abs().max()), float((sd / exact_sd).log().abs().max())
    )


SUBJECTS: dict[str, Callable[[int], Subject]] = {
    **{kind: functools.partial(conjugate, kind) for kind in CONJUGATE},
    "amortized Poisson": functools.partial(amortized, False),
    "amortized binomial": functools.partial(amortized, True),
}
"""Right guides, most of them, by seed."""
