"""Guides of probabilistic PCA that are wrong in a known way, and whether the diagnosis says so, for the right reason.

    python benchmarks/planted_faults.py                 # 20 seeds of each fault, 500 of the exact guide

Each seed draws another model of eight features and three latents, and 500 data of it. The guide is the exact posterior;
or half as wide; twice as wide; shifted by half a standard deviation in each latent; as it was before any training; or
the best mean-field one of a posterior with strong correlations.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from recording import Row, environment, record, table

from pyrogen.diagnostics import BUDGETS, Diagnosis, diagnose
from pyrogen.models import PPCA

NAME, KEY = "planted_faults", ("fault", "budget")
FEATURES, LATENT, ROWS = 8, 3, 500


def exact(seed: int, guide: Any = "full", correlated: bool = False) -> PPCA:
    """A model of a seed with its best guide; where correlated, two latents move the same features."""
    torch.manual_seed(seed)
    story = PPCA(FEATURES, LATENT, guide=guide)
    with torch.no_grad():
        story.weight.copy_(torch.randn(FEATURES, LATENT))
        if correlated:
            story.weight[:, 1] = story.weight[:, 0] + 0.3 * torch.randn(FEATURES)
        story.mean.copy_(torch.randn(FEATURES))
        story.log_sigma.fill_(-0.25)
    return story.solve_guide()


@torch.no_grad()
def scaled(seed: int, factor: float) -> PPCA:
    """The standard deviations of the guide are `factor` times the posterior's."""
    story = exact(seed)
    raw, shift = story.raw_scale, torch.tensor(factor).log()
    raw.copy_(factor * raw.tril(-1) + (raw.diagonal() + shift).diag())
    return story


@torch.no_grad()
def shifted(seed: int) -> PPCA:
    """Each latent's mean is half a standard deviation too high."""
    story = exact(seed)
    story.encoder.bias.add_(story.exact_posterior(torch.zeros(FEATURES)).stddev / 2)
    return story


@torch.no_grad()
def untrained(seed: int) -> PPCA:
    """The guide as it is made."""
    story = exact(seed)
    fresh = PPCA(FEATURES, LATENT)
    story.encoder.load_state_dict(fresh.encoder.state_dict())
    story.raw_scale.copy_(fresh.raw_scale)
    return story


FAULTS: dict[str, tuple[Callable[[int], PPCA], str | None]] = {
    "none": (exact, None),
    "half as wide": (lambda seed: scaled(seed, 0.5), "narrow"),
    "twice as wide": (lambda seed: scaled(seed, 2.0), "wide"),
    "shifted by half": (shifted, "shifted"),
    "never trained": (untrained, "untrained"),
    "mean-field, correlated": (lambda seed: exact(seed, "meanfield", correlated=True), "correlations"),
}
"""The guide by seed, and what must be said of it."""


def diagnosed(fault: str, seed: int, budget: Any) -> Diagnosis:
    """The diagnosis of a fault on data of its model."""
    story = FAULTS[fault][0](seed)
    with torch.no_grad():
        data = story.sample(ROWS)
    return diagnose(story, data, budget=budget, seed=seed)


def row(fault: str, seeds: int, budget: str) -> Row:
    """How often a fault was seen, and seen for its reason, over seeds."""
    start, kinds, verdicts, right = time.perf_counter(), Counter[str](), Counter[str](), 0
    for seed in range(seeds):
        found = diagnosed(fault, seed, budget)
        verdicts[found.verdict] += 1
        kinds.update(found.kinds)
        reason = FAULTS[fault][1]
        right += reason in found.kinds if reason else found.verdict == "believe"
    told: Row = {"fault": fault, "budget": budget, "seeds": seeds, "right": right}
    told |= {"verdicts": dict(verdicts), "kinds": dict(kinds.most_common()), "rows": ROWS}
    return told | {"seconds": time.perf_counter() - start}


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns: dict[str, Callable[[Row], str]] = {
        "fault of the guide": lambda r: r["fault"],
        "must be said": lambda r: FAULTS[r["fault"]][1] or "nothing",
        "seeds": lambda r: str(r["seeds"]),
        "was said": lambda r: str(r["right"]),
        "verdicts": lambda r: ", ".join(f"{verdict} {count}" for verdict, count in r["verdicts"].items()),
        "what was found": lambda r: ", ".join(f"{kind} {count}" for kind, count in r["kinds"].items()),
        "budget": lambda r: r["budget"],
    }
    about = f"{ROWS} data of a model with {FEATURES} features and {LATENT} latents, another model for each seed"
    return f"# Planted faults\n\n{about}. Made by `python benchmarks/{NAME}.py`.\n\n{table(rows, columns)}"


def main() -> None:
    """Parse, diagnose, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of each fault")
    parser.add_argument("--exact-seeds", type=int, default=500)
    parser.add_argument("--budget", choices=BUDGETS, default="quick")
    parser.add_argument("--dry", action="store_true", help="print, and record nothing")
    options = parser.parse_args()
    for fault in FAULTS:
        told = row(fault, options.exact_seeds if fault == "none" else options.seeds, options.budget)
        print(told, flush=True)
        if not options.dry:
            record(NAME, told | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
