"""Guides that are wrong in a known way, and whether the diagnosis says so, for the right reason; and right ones.

    python benchmarks/planted_faults.py                 # 20 seeds of each fault, 500 guides that are right
    python benchmarks/planted_faults.py --resume        # those that are not recorded yet

Probabilistic PCA of eight features and three latents, another for each seed, and 500 data of it: the guide is the exact
posterior; or half as wide; twice as wide; shifted by half a standard deviation in each latent; as it was before any
training; or the best mean-field one of a posterior with strong correlations. Guides whose fault differs by datum, so
that it cancels when pooled: widths, means, the sign of a correlation, and a second mode of the posterior in 4 % of the
data (`planted/by_datum.py`). Two modes and labels that switch, from four starts (`planted/modes.py`). Guides that are
right by quadrature, means within .1 standard deviations and standard deviations within 15 %, and not exact
(`planted/right.py`): AutoNormal and AutoMultivariateNormal on conjugate pairs, and trained networks. Of these the
checks of the guide alone are run.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from planted import by_datum, modes
from planted.judging import guide_verdict, judged_guide
from planted.right import SUBJECTS
from recording import Row, environment, read, record, table

from pyrogen import Story
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


def by_column(story: Story, c: torch.Tensor) -> tuple[Story, dict[str, torch.Tensor]]:
    """A story that conditions on a column, with data of its model."""
    return story, {"x": story.model(None, c, len(c)), "c": c}


def signs(seed: int) -> torch.Tensor:
    """A column of -1 and 1."""
    torch.manual_seed(seed)
    return torch.randint(0, 2, (ROWS,)) * 2.0 - 1


def rare(seed: int) -> torch.Tensor:
    """A column that is 1 in 4 % of its rows, else 0."""
    torch.manual_seed(seed)
    return (torch.randperm(ROWS) < 0.04 * ROWS).float()


FAULTS: dict[str, tuple[Callable[[int], Any], tuple[str, ...]]] = {
    "none": (exact, ()),
    "half as wide": (lambda seed: scaled(seed, 0.5), ("narrow",)),
    "twice as wide": (lambda seed: scaled(seed, 2.0), ("wide",)),
    "shifted by half": (shifted, ("shifted",)),
    "never trained": (untrained, ("untrained",)),
    "mean-field, correlated": (lambda seed: exact(seed, "meanfield", correlated=True), ("correlations",)),
    "widths by datum": (lambda seed: by_datum.Means(seed, width=1.6), ("narrow", "wide")),
    "shifts by datum": (lambda seed: by_datum.Means(seed, shift=0.5), ("shifted",)),
    "correlations by datum": (lambda seed: by_column(by_datum.Sums(), signs(seed)), ("correlations",)),
    "mode missed in 4 % of data": (lambda seed: by_column(by_datum.Squares(), rare(seed)), ("modes",)),
    "two modes, 4 starts": (modes.two_modes, ("modes",)),
    "labels that switch, 4 starts": (modes.switching_labels, ("label switching",)),
}
"""The guide by seed, alone or with data, and what must be said of it, one of these."""


def diagnosed(fault: str, seed: int, budget: Any) -> Diagnosis:
    """The diagnosis of a fault on data of its model."""
    made = FAULTS[fault][0](seed)
    story, data = made if isinstance(made, tuple) else (made, None)
    with torch.no_grad():
        data = story.sample(ROWS) if data is None else data
    return diagnose(story, data, budget=budget, seed=seed)


def row(fault: str, seeds: int, budget: str) -> Row:
    """How often a fault was seen, and seen for its reason, over seeds."""
    start, kinds, verdicts, right = time.perf_counter(), Counter[str](), Counter[str](), 0
    for seed in range(seeds):
        found = diagnosed(fault, seed, budget)
        verdicts[found.verdict_on("guide")] += 1
        told = found.kinds | {finding.kind for finding in found.findings} & {"label switching"}
        kinds.update(told)
        reasons = set(FAULTS[fault][1])
        right += bool(reasons & told) if reasons else found.verdict == "believe"
    counted: Row = {"fault": fault, "budget": budget, "seeds": seeds, "right": right}
    counted |= {"verdicts": dict(verdicts), "kinds": dict(kinds.most_common()), "rows": ROWS}
    return counted | {"seconds": time.perf_counter() - start}


def row_of_right(kind: str, seeds: int, budget: str) -> Row:
    """How often a right guide is believed; fits that did not come out right do not count."""
    start, kinds, verdicts, seed = time.perf_counter(), Counter[str](), Counter[str](), 0
    while verdicts.total() < seeds and seed < 3 * seeds:
        subject, seed = SUBJECTS[kind](seed), seed + 1
        if subject.right:
            found = judged_guide(subject.fitted, subject.data, BUDGETS[budget], seed)
            verdicts[guide_verdict(found)] += 1
            kinds.update({f.kind for f in found.findings if f.verdict})
    counted: Row = {"fault": f"right: {kind}", "budget": budget, "seeds": verdicts.total(), "fits": seed}
    counted |= {"right": verdicts["believe"], "verdicts": dict(verdicts), "kinds": dict(kinds.most_common())}
    return counted | {"seconds": time.perf_counter() - start}


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns: dict[str, Callable[[Row], str]] = {
        "fault of the guide": lambda r: r["fault"],
        "must be said": lambda r: " or ".join(FAULTS.get(r["fault"], (None, ()))[1]) or "nothing",
        "seeds": lambda r: str(r["seeds"]),
        "was said": lambda r: str(r["right"]),
        "verdicts on the guide": lambda r: ", ".join(f"{verdict} {count}" for verdict, count in r["verdicts"].items()),
        "what was found": lambda r: ", ".join(f"{kind} {count}" for kind, count in r["kinds"].items()),
        "budget": lambda r: r["budget"],
    }
    about = (
        f"{ROWS} data of a model with {FEATURES} features and {LATENT} latents, another model for each seed; faults by "
        "datum in models of one or two latents; right guides, by quadrature, that are not exact"
    )
    return f"# Planted faults\n\n{about}. Made by `python benchmarks/{NAME}.py`.\n\n{table(rows, columns)}"


def main() -> None:
    """Parse, diagnose, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of each fault")
    parser.add_argument("--exact-seeds", type=int, default=100, help="of the exact guide")
    parser.add_argument("--right-seeds", type=int, default=100, help="of each kind of right guide")
    parser.add_argument("--resume", action="store_true", help="skip what is recorded")
    parser.add_argument("--budget", choices=BUDGETS, default="quick")
    parser.add_argument("--dry", action="store_true", help="print, and record nothing")
    options = parser.parse_args()
    done = {(r["fault"], r["budget"]) for r in read(NAME)} if options.resume else set()
    jobs = {fault: partial(row, fault, options.exact_seeds if fault == "none" else options.seeds) for fault in FAULTS}
    jobs |= {f"right: {kind}": partial(row_of_right, kind, options.right_seeds) for kind in SUBJECTS}
    for name, job in jobs.items():
        if (name, options.budget) in done:
            continue
        counted = job(options.budget)
        print(counted, flush=True)
        if not options.dry:
            record(NAME, counted | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
