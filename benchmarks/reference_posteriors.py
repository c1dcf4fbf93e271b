"""Four posteriors of which reference draws are known, and whether the verdict on a guide agrees with them.

    PYROGEN_DATA=... python benchmarks/reference_posteriors.py

The posteriors of posteriordb (Magnusson, Torgander, Bürkner, Zhang, Carpenter, Vehtari 2024, arXiv:2407.04967) as plain
Pyro programs, fitted with a mean-field, a full-covariance and a flow guide. Which guides are right is told by the
reference draws alone: those whose means are within 0.2 standard deviations, standard deviations within 20 % (either
may be the larger), and correlations within 0.2. One that is off by more than 0.3, or 30 %, is wrong; of one between the
two either verdict is right. The diagnosis sees the guide and the data alone.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal
from pyro.infer.autoguide.initialization import init_to_feasible
from recording import Row, environment, record, table
from torch import Tensor

from pyrogen import fit
from pyrogen.data import data_root
from pyrogen.diagnostics import diagnose
from pyrogen.inference import adam, cosine

NAME, KEY = "reference_posteriors", ("posterior", "guide")
RATE = 0.02
RIGHT, WRONG = 0.2, 0.3


def regression(X: Tensor, y: Tensor) -> None:
    """sblri-blr: y ~ N(X beta, sigma)."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(X.shape[1]), 10.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    with pyro.plate("data", len(X)):
        pyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kidscore(mom_iq: Tensor, kid_score: Tensor) -> None:
    """kidiq-kidscore_momiq. The flat prior of beta is one of standard deviation 1,000, hundreds of the posterior's."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 1000.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("data", len(mom_iq)):
        pyro.sample("kid_score", dist.Normal(beta[..., 0] + beta[..., 1] * mom_iq, sigma), obs=kid_score)


def schools(sigma: Tensor, y: Tensor) -> None:
    """eight_schools-eight_schools_noncentered."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    trans = pyro.sample("theta_trans", dist.Normal(torch.zeros(len(sigma)), 1.0).to_event(1))
    theta = pyro.deterministic("theta", mu + tau * trans, event_dim=1)
    with pyro.plate("data", len(sigma)):
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def mixture(y: Tensor) -> None:
    """low_dim_gauss_mix. Middle and distance of two ordered normal means are independent, and told in their place."""
    middle = pyro.sample("middle", dist.Normal(0.0, math.sqrt(2.0)))
    distance = pyro.sample("distance", dist.HalfNormal(math.sqrt(8.0)))
    mu = pyro.deterministic("mu", torch.stack([middle - distance / 2, middle + distance / 2], -1), event_dim=1)
    sigma = pyro.sample("sigma", dist.HalfNormal(torch.full((2,), 2.0)).to_event(1))
    theta = pyro.sample("theta", dist.Beta(5.0, 5.0))
    with pyro.plate("data", len(y)):
        weights = dist.Categorical(torch.stack([theta, 1 - theta], -1))
        pyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)


@dataclass(frozen=True)
class Case:
    """A posterior: its program, the columns that this asks for, its file's name, and what is compared."""

    program: Callable[..., None]
    columns: tuple[str, ...]
    data: str
    model: str


CASES = {
    "sblri": Case(regression, ("X", "y"), "sblri", "blr"),
    "kidiq": Case(kidscore, ("mom_iq", "kid_score"), "kidiq", "kidscore_momiq"),
    "eight schools": Case(schools, ("sigma", "y"), "eight_schools", "eight_schools_noncentered"),
    "mixture": Case(mixture, ("y",), "low_dim_gauss_mix", "low_dim_gauss_mix"),
}
# From the middle of each latent's support: medians of draws from an almost flat prior are hundreds off.
GUIDES: dict[str, Callable[[Any], Any]] = {
    "mean-field": lambda model: AutoNormal(model, init_loc_fn=init_to_feasible),
    "full covariance": lambda model: AutoMultivariateNormal(model, init_loc_fn=init_to_feasible),
    "flow": lambda model: AutoIAFNormal(model, [32], num_transforms=2),
}


def unpacked(root: Path, name: str) -> Any:
    """The JSON of a file of posteriordb."""
    with zipfile.ZipFile(root / "posteriordb" / f"{name}.json.zip") as packed:
        return json.loads(packed.read(packed.namelist()[0]))


def columns(root: Path, case: Case) -> dict[str, Tensor]:
    """The data of a posterior."""
    told = unpacked(root, f"{case.data}.data")
    return {name: torch.tensor(told[name], dtype=torch.float64) for name in case.columns}


def reference(root: Path, case: Case) -> dict[str, np.ndarray[Any, Any]]:
    """Reference draws by name, counted from 0, (draws,)."""
    chains = unpacked(root, f"{case.data}-{case.model}.draws")

    def counted(name: str) -> str:
        site, bracket, place = name.partition("[")
        return f"{site}[{int(place[:-1]) - 1}]" if bracket else site

    return {counted(name): np.concatenate([chain[name] for chain in chains]) for name in chains[0]}


def truth(draws: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> Row:
    """How far the guide's draws (S, K) are from the reference's, and whether that is right."""
    mean = np.abs(draws.mean(0) - exact.mean(0)) / exact.std(0)
    ratio = draws.std(0) / exact.std(0)
    correlation = np.abs(np.corrcoef(draws.T) - np.corrcoef(exact.T))
    off = max(mean.max(), 1 - ratio.min(), 1 - 1 / ratio.max(), correlation.max())
    told = {
        "mean_off": mean.max(),
        "sd_least": ratio.min(),
        "sd_most": ratio.max(),
        "correlation_off": correlation.max(),
    }
    is_right = "yes" if off < RIGHT else "no" if off > WRONG else "nearly"
    return {**{name: float(value) for name, value in told.items()}, "right": is_right}


def examined(root: Path, posterior: str, guide: str, steps: int, rate: float, budget: Any, seed: int) -> Row:
    """Fit a guide, diagnose it, and hold the diagnosis against the reference draws."""
    case = CASES[posterior]
    data, start = columns(root, case), time.perf_counter()
    pyro.set_rng_seed(seed)
    options: dict[str, Any] = {"optimizer": adam(rate), "schedule": cosine(steps), "precision": "float64"}
    run = fit((case.program, GUIDES[guide](case.program)), data, steps=steps, seed=seed, progress=False, **options)
    seconds, start = time.perf_counter() - start, time.perf_counter()
    found = diagnose(run, data, budget=budget, seed=seed)
    moments, known = found.results["shared_moments"], reference(root, case)
    names = [name for name in moments.names if name in known]
    draws = moments.guide[:, [moments.names.index(name) for name in names]]
    told = truth(draws, np.stack([known[name] for name in names], 1))
    row: Row = {
        "posterior": posterior,
        "guide": guide,
        "steps": steps,
        "rate": rate,
        "seed": seed,
        "draws": len(draws),
        **told,
    }
    row |= {"khat": found.figures["khat"].to_dict()["value"], "verdict": found.verdict, "kinds": sorted(found.kinds)}
    agrees = told["right"] == ("yes" if found.verdict == "believe" else "no") or told["right"] == "nearly"
    row |= {"agrees": agrees, "sentence": found.sentence}
    return row | {"seconds": seconds, "seconds_of_diagnosis": time.perf_counter() - start}


def render(rows: list[Row]) -> str:
    """The results as a page."""
    shown: dict[str, Callable[[Row], str]] = {
        "posterior": lambda r: r["posterior"],
        "guide": lambda r: r["guide"],
        "means off by": lambda r: f"{r['mean_off']:.2f} sd",
        "sd / reference": lambda r: f"{r['sd_least']:.2f} to {r['sd_most']:.2f}",
        "correlations off by": lambda r: f"{r['correlation_off']:.2f}",
        "right": lambda r: r["right"],
        "k-hat": lambda r: "" if r["khat"] is None else f"{r['khat']:.2f}",
        "verdict": lambda r: r["verdict"],
        "because": lambda r: ", ".join(r["kinds"]),
        "agrees": lambda r: "yes" if r["agrees"] else "**no**",
    }
    return (
        "# Reference posteriors\n\nGuides of four posteriors of posteriordb held against their reference draws; right "
        f"is one whose means are within {RIGHT} standard deviations, standard deviations within {RIGHT:.0%}, "
        f"correlations within {RIGHT}; wrong one that is off by more than {WRONG}. k-hat and verdict come of guide and "
        "data alone. "
        f"Made by `python benchmarks/{NAME}.py`.\n\n" + table(rows, shown)
    )


def main() -> None:
    """Parse, fit, diagnose, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--budget", default="standard")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--posterior", choices=CASES, nargs="*", default=list(CASES))
    parser.add_argument("--guide", choices=GUIDES, nargs="*", default=list(GUIDES))
    parser.add_argument("--dry", action="store_true", help="print, and record nothing")
    options = parser.parse_args()
    for posterior in options.posterior:
        for guide in options.guide:
            row = examined(data_root(), posterior, guide, options.steps, options.rate, options.budget, options.seed)
            print(json.dumps(row, indent=1), flush=True)
            if not options.dry:
                record(NAME, row | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
