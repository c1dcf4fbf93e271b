"""Fourteen posteriors of posteriordb as Pyro programs.

An improper prior is here a proper one so wide that its density does not change over the posterior. Coefficients with
flat priors are drawn as those of the orthogonal columns of a QR decomposition (Stan User's Guide, "The QR
reparameterization"), which leaves the posterior of `beta` as it is and its guide less to learn; `kidscore` is left in
the coordinates of its data.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

Draws = dict[str, np.ndarray[Any, Any]]

_WIDE = 1e4
"""Standard deviation of a prior that stands for a flat one."""


def regression(X: Tensor, y: Tensor) -> None:
    """sblri-blr, sblrc-blr: y ~ N(X beta, sigma)."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(X.shape[1]), 10.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    with pyro.plate("data", len(X)):
        pyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kidscore(mom_iq: Tensor, kid_score: Tensor) -> None:
    """kidiq-kidscore_momiq."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 1000.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("data", len(mom_iq)):
        pyro.sample("kid_score", dist.Normal(beta[0] + beta[1] * mom_iq, sigma), obs=kid_score)


def interaction(mom_hs: Tensor, mom_iq: Tensor, kid_score: Tensor) -> None:
    """kidiq-kidscore_interaction."""
    mean = _flat_regression([mom_hs, mom_iq, mom_hs * mom_iq])
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("data", len(mom_iq)):
        pyro.sample("kid_score", dist.Normal(mean, sigma), obs=kid_score)


def log_earnings(height: Tensor, earn: Tensor) -> None:
    """earnings-logearn_height."""
    _log_earnings(height, earn.log())


def log10_earnings(height: Tensor, earn: Tensor) -> None:
    """earnings-log10earn_height."""
    _log_earnings(height, earn.log10())


def _log_earnings(height: Tensor, y: Tensor) -> None:
    mean, sigma = _flat_regression([height]), _flat_scale()
    with pyro.plate("data", len(height)):
        pyro.sample("y", dist.Normal(mean, sigma), obs=y)


def mesquite(
    weight: Tensor,
    diam1: Tensor,
    diam2: Tensor,
    canopy_height: Tensor,
    total_height: Tensor,
    density: Tensor,
    group: Tensor,
) -> None:
    """mesquite-logmesquite_logvas."""
    volume, area, shape = diam1 * diam2 * canopy_height, diam1 * diam2, diam1 / diam2
    mean = _flat_regression([volume.log(), area.log(), shape.log(), total_height.log(), density.log(), group])
    sigma = _flat_scale()
    with pyro.plate("data", len(weight)):
        pyro.sample("y", dist.Normal(mean, sigma), obs=weight.log())


def party(
    partyid7: Tensor,
    real_ideo: Tensor,
    race_adj: Tensor,
    age_discrete: Tensor,
    educ1: Tensor,
    gender: Tensor,
    income: Tensor,
) -> None:
    """nes1976-nes."""
    ages = [(age_discrete == age).to(income.dtype) for age in (2, 3, 4)]
    mean, sigma = _flat_regression([real_ideo, race_adj, *ages, educ1, gender, income]), _flat_scale()
    with pyro.plate("data", len(partyid7)):
        pyro.sample("partyid7", dist.Normal(mean, sigma), obs=partyid7)


def _flat_regression(columns: list[Tensor]) -> Tensor:
    """The mean under coefficients `beta` of 1 and the columns, all flat, by way of those of orthogonal columns."""
    X = torch.stack([torch.ones_like(columns[0]), *columns], -1)
    Q, R = torch.linalg.qr(X)
    scale = math.sqrt(len(X))
    theta = pyro.sample("theta", dist.Normal(torch.zeros(X.shape[1]), _WIDE).to_event(1))
    pyro.deterministic("beta", torch.linalg.solve_triangular(R / scale, theta[:, None], upper=True)[:, 0], event_dim=1)
    return scale * Q @ theta


def _flat_scale() -> Tensor:
    return torch.as_tensor(pyro.sample("sigma", dist.HalfNormal(_WIDE)))


def temperatures(x: Tensor, y: Tensor, pmualpha: Tensor, psalpha: Tensor, pmubeta: Tensor, psbeta: Tensor) -> None:
    """kilpisjarvi_mod-kilpisjarvi. Drawn as the mean in the middle of the x, whose prior given beta is normal too."""
    middle = x.mean()
    beta = pyro.sample("beta", dist.Normal(pmubeta[0], psbeta[0]))
    level = pyro.sample("level", dist.Normal(pmualpha[0] + middle * beta, psalpha[0]))
    pyro.deterministic("alpha", level - middle * beta)
    sigma = _flat_scale()
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(level + beta * (x - middle), sigma), obs=y)


def schools(sigma: Tensor, y: Tensor) -> None:
    """eight_schools-eight_schools_noncentered."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    trans = pyro.sample("theta_trans", dist.Normal(torch.zeros(len(sigma)), 1.0).to_event(1))
    theta = pyro.deterministic("theta", mu + tau * trans, event_dim=1)
    with pyro.plate("data", len(sigma)):
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def centered_schools(sigma: Tensor, y: Tensor) -> None:
    """eight_schools-eight_schools_noncentered, with theta itself as the latent."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    theta = pyro.sample("theta", dist.Normal(mu.expand(len(sigma)), tau).to_event(1))
    with pyro.plate("data", len(sigma)):
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def mixture(y: Tensor) -> None:
    """low_dim_gauss_mix. Middle and distance of two ordered normal means are independent, and drawn in their place."""
    middle = pyro.sample("middle", dist.Normal(0.0, math.sqrt(2.0)))
    distance = pyro.sample("distance", dist.HalfNormal(math.sqrt(8.0)))
    mu = pyro.deterministic("mu", torch.stack([middle - distance / 2, middle + distance / 2], -1), event_dim=1)
    sigma = pyro.sample("sigma", dist.HalfNormal(torch.full((2,), 2.0)).to_event(1))
    theta = pyro.sample("theta", dist.Beta(5.0, 5.0))
    with pyro.plate("data", len(y)):
        weights = dist.Categorical(torch.stack([theta, 1 - theta], -1))
        pyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)


def middle_and_distance(draws: Draws) -> Draws:
    """What `mixture` draws in place of the means."""
    return {"middle": (draws["mu[0]"] + draws["mu[1]"]) / 2, "distance": draws["mu[1]"] - draws["mu[0]"]}


def counts(x: Tensor, k: Tensor) -> None:
    """gp_pois_regr-gp_pois_regr."""
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    f_tilde = pyro.sample("f_tilde", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
    covariance = alpha**2 * torch.exp(-((x[:, None] - x) ** 2) / (2 * rho**2)) + 1e-10 * torch.eye(len(x)).to(x)
    f = pyro.deterministic("f", torch.linalg.cholesky(covariance) @ f_tilde, event_dim=1)
    with pyro.plate("data", len(x)):
        pyro.sample("k", dist.Poisson(f.exp()), obs=k)


def diamonds(X: Tensor, Y: Tensor) -> None:
    """diamonds-diamonds."""
    Xc = X[:, 1:] - X[:, 1:].mean(0)
    b = pyro.sample("b", dist.Normal(torch.zeros(Xc.shape[1]), 1.0).to_event(1))
    intercept = pyro.sample("Intercept", dist.StudentT(3.0, 8.0, 10.0))
    sigma = pyro.sample("sigma", dist.FoldedDistribution(dist.StudentT(3.0, 0.0, 10.0)))
    with pyro.plate("data", len(Y)):
        pyro.sample("Y", dist.Normal(intercept + Xc @ b, sigma), obs=Y)


@dataclass(frozen=True)
class Posterior:
    """A posterior: program, columns that it asks for, name of its file, and latents that follow from others."""

    program: Callable[..., None]
    columns: tuple[str, ...]
    data: str
    model: str
    derived: Callable[[Draws], Draws] = lambda draws: {}

    def read_columns(self, root: Path) -> dict[str, Tensor]:
        """The data, numbers that are no columns repeated for each row."""
        read = _unpacked(root, f"{self.data}.data")
        values = [torch.tensor(read[name], dtype=torch.float64) for name in self.columns]
        rows = max(len(value) for value in values if value.dim())
        return {name: v if v.dim() else v.expand(rows) for name, v in zip(self.columns, values, strict=True)}

    def read_draws(self, root: Path) -> Draws:
        """Reference draws by name, places counted from 0, (draws,)."""
        chains = _unpacked(root, f"{self.data}-{self.model}.draws")

        def counted(name: str) -> str:
            site, bracket, place = name.partition("[")
            return f"{site}[{int(place[:-1]) - 1}]" if bracket else site

        draws = {counted(name): np.concatenate([chain[name] for chain in chains]) for name in chains[0]}
        return draws | self.derived(draws)


def _unpacked(root: Path, name: str) -> Any:
    """The JSON of a file of posteriordb."""
    with zipfile.ZipFile(root / "posteriordb" / f"{name}.json.zip") as packed:
        return json.loads(packed.read(packed.namelist()[0]))


SCHOOLS = ("sigma", "y"), "eight_schools", "eight_schools_noncentered"
KIDS = ("mom_hs", "mom_iq", "kid_score"), "kidiq", "kidscore_interaction"
SHRUBS = (
    ("weight", "diam1", "diam2", "canopy_height", "total_height", "density", "group"),
    "mesquite",
    "logmesquite_logvas",
)
VOTERS = ("partyid7", "real_ideo", "race_adj", "age_discrete", "educ1", "gender", "income"), "nes1976", "nes"
SUMMERS = ("x", "y", "pmualpha", "psalpha", "pmubeta", "psbeta"), "kilpisjarvi_mod", "kilpisjarvi"

POSTERIORS = {
    "sblri": Posterior(regression, ("X", "y"), "sblri", "blr"),
    "sblrc": Posterior(regression, ("X", "y"), "sblrc", "blr"),
    "kidiq": Posterior(kidscore, ("mom_iq", "kid_score"), "kidiq", "kidscore_momiq"),
    "kidiq, interaction": Posterior(interaction, *KIDS),
    "earnings, log": Posterior(log_earnings, ("height", "earn"), "earnings", "logearn_height"),
    "earnings, log10": Posterior(log10_earnings, ("height", "earn"), "earnings", "log10earn_height"),
    "mesquite": Posterior(mesquite, *SHRUBS),
    "nes": Posterior(party, *VOTERS),
    "kilpisjarvi": Posterior(temperatures, *SUMMERS),
    "eight schools": Posterior(schools, *SCHOOLS),
    "eight schools, centered": Posterior(centered_schools, *SCHOOLS),
    "mixture": Posterior(mixture, ("y",), "low_dim_gauss_mix", "low_dim_gauss_mix", middle_and_distance),
    "gp": Posterior(counts, ("x", "k"), "gp_pois_regr", "gp_pois_regr"),
    "diamonds": Posterior(diamonds, ("X", "Y"), "diamonds", "diamonds"),
}
