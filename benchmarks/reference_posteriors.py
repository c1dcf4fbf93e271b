"""Fourteen posteriors of which reference draws are known, and whether the verdict on a guide agrees with them.

    PYROGEN_DATA=... python benchmarks/reference_posteriors.py            # resumes: what is recorded is not run again

The posteriors of posteriordb (Magnusson, Torgander, Bürkner, Zhang, Carpenter, Vehtari 2024, arXiv:2407.04967) as Pyro
programs (`posteriordb/programs.py`), fitted with a mean-field, a full-covariance and a flow guide, each trained to
convergence and cut short. Which guides are right is told by the reference draws alone: those whose means are within 0.2
standard deviations, standard deviations within 20 % (either may be the larger), and correlations within 0.2. One that
is off by more than 0.3, or 30 %, is wrong; of one between the two either verdict is right. The diagnosis sees the guide
and the data alone: a wrong belief is a wrong guide that is believed, a doubt a right one that is not. The checks of the
guide are run with ten seeds of the draws, to see whether the verdict depends on them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from planted.judging import guide_verdict, judged_guide
from posteriordb.programs import POSTERIORS
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal
from pyro.infer.autoguide.initialization import init_to_feasible
from recording import Row, environment, read, record, table

from pyrogen import fit
from pyrogen.data import data_root
from pyrogen.diagnostics import BUDGETS, shared_moments
from pyrogen.inference import Fit, adam, cosine

NAME, KEY = "reference_posteriors", ("posterior", "guide", "training")
RATE, RUNS = 0.02, Path("runs") / NAME
STEPS = {"converged": 20_000, "cut short": 4_000}
RIGHT, WRONG = 0.2, 0.3

# From the middle of each latent's support: medians of draws from an almost flat prior are hundreds off.
GUIDES: dict[str, Callable[[Any], Any]] = {
    "mean-field": lambda model: AutoNormal(model, init_loc_fn=init_to_feasible),
    "full covariance": lambda model: AutoMultivariateNormal(model, init_loc_fn=init_to_feasible),
    "flow": lambda model: AutoIAFNormal(model, [32], num_transforms=2),
}


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


def trained(posterior: str, guide: str, training: str, data: Any) -> Fit:
    """The fit of a guide, kept in a folder and resumed from there."""
    program = POSTERIORS[posterior].program
    pyro.set_rng_seed(0)
    folder = RUNS / "_".join([posterior, guide, training]).replace(",", "").replace(" ", "_")
    options: dict[str, Any] = {"optimizer": adam(RATE), "schedule": cosine(STEPS["converged"]), "precision": "float64"}
    options |= {"steps": STEPS[training], "out": folder, "resume": True, "compile": False, "progress": False}
    return fit((program, GUIDES[guide](program)), data, **options)


def examined(root: Path, posterior: str, guide: str, training: str, budget: str, seeds: int) -> Row:
    """Fit a guide, judge it with several seeds, and hold the verdicts against the reference draws."""
    case, start = POSTERIORS[posterior], time.perf_counter()
    data = case.read_columns(root)
    run = trained(posterior, guide, training, data)
    seconds, start = time.perf_counter() - start, time.perf_counter()
    moments, known = shared_moments(run, data), case.read_draws(root)
    names = [name for name in moments.names if name in known]
    draws = moments.guide[:, [moments.names.index(name) for name in names]]
    row: Row = {"posterior": posterior, "guide": guide, "training": training, "steps": STEPS[training], "rate": RATE}
    row |= truth(draws, np.stack([known[name] for name in names], 1))
    found = [judged_guide(run, data, BUDGETS[budget], seed) for seed in range(seeds)]
    verdicts = [guide_verdict(one) for one in found]
    first = found[0].metrics["khat"].to_dict()
    row |= {"khat": first["value"], "khat_error": first["error"], "verdict": verdicts[0], "verdicts": verdicts}
    row |= {"kinds": sorted({f.kind for f in found[0].findings if f.verdict}), "budget": budget}
    row |= {"sentences": [f.message for f in found[0].findings if f.verdict]}
    row |= {"wrong_beliefs": verdicts.count("believe") if row["right"] == "no" else 0}
    row |= {"doubts": len(verdicts) - verdicts.count("believe") if row["right"] == "yes" else 0}
    return row | {"seconds": seconds, "seconds_of_diagnosis": (time.perf_counter() - start) / seeds}


def summary(rows: list[Row]) -> str:
    """Wrong beliefs, doubts, and verdicts that depend on the seed."""
    wrong, right = ([r for r in rows if r["right"] == of] for of in ("no", "yes"))
    believed, doubted = (sum(r["verdict"] == "believe" for r in wrong), sum(r["verdict"] != "believe" for r in right))
    beliefs, doubts = (sum(r[count] for r in rows) for count in ("wrong_beliefs", "doubts"))
    same = sum(len(set(r["verdicts"])) == 1 for r in rows)
    return (
        f"Of {len(rows)} guides {len(wrong)} are wrong, and {believed} of these are believed ({beliefs} of all their "
        f"verdicts); {len(right)} are right, and {doubted} of these are doubted ({doubts} of all their verdicts). The "
        f"verdict is the same for all seeds of the draws for {same} of {len(rows)}."
    )


def render(rows: list[Row]) -> str:
    """The results as a page."""
    shown: dict[str, Callable[[Row], str]] = {
        "posterior": lambda r: r["posterior"],
        "guide": lambda r: r["guide"],
        "training": lambda r: r["training"],
        "means off by": lambda r: f"{r['mean_off']:.2f} sd",
        "sd / reference": lambda r: f"{r['sd_least']:.2f} to {r['sd_most']:.2f}",
        "correlations off by": lambda r: f"{r['correlation_off']:.2f}",
        "right": lambda r: r["right"],
        "k-hat": lambda r: "" if r["khat"] is None else f"{r['khat']:.2f}",
        "verdict": lambda r: r["verdict"],
        "because": lambda r: ", ".join(r["kinds"]),
        "other seeds": lambda r: ", ".join(sorted(set(r["verdicts"]) - {r["verdict"]})) or "the same",
        "agrees": lambda r: "**no**" if r["wrong_beliefs"] or r["doubts"] else "yes",
    }
    return (
        "# Reference posteriors\n\nGuides of posteriors of posteriordb held against their reference draws; right is "
        f"one whose means are within {RIGHT} standard deviations, standard deviations within {RIGHT:.0%}, correlations "
        f"within {RIGHT}; wrong one that is off by more than {WRONG}. k-hat and verdict come of guide and data alone. "
        f"{summary(rows)} Made by `python benchmarks/{NAME}.py`.\n\n" + table(rows, shown)
    )


def main() -> None:
    """Parse, fit, judge, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", choices=BUDGETS, default="standard")
    parser.add_argument("--seeds", type=int, default=10, help="of the draws of a diagnosis")
    parser.add_argument("--posterior", choices=POSTERIORS, nargs="*", default=list(POSTERIORS))
    parser.add_argument("--guide", choices=GUIDES, nargs="*", default=list(GUIDES))
    parser.add_argument("--training", choices=STEPS, nargs="*", default=list(STEPS))
    parser.add_argument("--again", action="store_true", help="also what is recorded; fits that are kept are kept")
    parser.add_argument("--dry", action="store_true", help="print, and record nothing")
    options = parser.parse_args()
    done = {tuple(row.get(key) for key in KEY) for row in read(NAME)} if not options.again else set()
    for key in itertools.product(options.posterior, options.guide, options.training):
        if key in done:
            continue
        row = examined(data_root(), *key, options.budget, options.seeds)
        print(json.dumps(row, indent=1), flush=True)
        if not options.dry:
            record(NAME, row | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
