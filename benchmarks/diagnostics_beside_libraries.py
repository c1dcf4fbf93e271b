"""Pieces of the diagnostics beside the same in scikit-learn and arviz-stats: results, time, memory.

    python benchmarks/diagnostics_beside_libraries.py

Nearest neighbours and counts of balls: blocks of `torch.cdist`, which pyrogen had, beside scikit-learn, which it uses.
The area under the ROC curve: `Estimate.exceedance` beside scikit-learn's. The band of uniform ranks: `rank_band` beside
arviz-stats', with as many simulations. One thread; each way in processes of its own that take turns; the figures are
the least processor seconds and the largest peak of memory beyond that of imports and data.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from recording import Row, environment, record, table
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.guide import rank_uniformity
from pyrogen.diagnostics.samples import prdc

NAME, KEY = "diagnostics_beside_libraries", ("device", "piece", "size")
NEIGHBOURS = 5
Ways = dict[str, Callable[[], Any]]


def blocks(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Distances by torch, four million at a time, as pyrogen took them."""
    centre = others.mean(0)
    points, others = points - centre, others - centre
    zero = 1e-6 * others.norm(dim=1).max()
    for block in points.split(max(1, 2**22 // len(others))):
        distances = torch.cdist(block, others)
        yield distances.masked_fill_(distances < zero, 0.0)


def by_torch(points: Tensor, others: Tensor) -> Tensor:
    """Distances of the nearest neighbours."""
    return torch.cat([block.topk(NEIGHBOURS + 1, largest=False).values for block in blocks(points, others)])


def pairs(size: str) -> tuple[Tensor, Tensor]:
    """Two sets of points."""
    n, d = map(int, size.split(" x "))
    return torch.randn(n, d).double(), torch.randn(n, d).double()


def neighbours(size: str) -> Ways:
    """The nearest neighbours of one set in the other."""
    x, y = pairs(size)
    return {"torch": lambda: by_torch(x, y), "library": lambda: prdc.nearest_neighbours(x, y, NEIGHBOURS + 1)[0]}


def balls(size: str) -> Ways:
    """Balls of one set that points of the other lie in."""
    x, y = pairs(size)
    radii = torch.full((len(y),), 0.95 * math.sqrt(2 * y.shape[1])).double()  # most pairs are sqrt(2 d) apart
    own = lambda: torch.cat([(block <= radii).sum(1) for block in blocks(x, y)])  # noqa: E731
    return {"torch": own, "library": lambda: prdc._count_balls(x, y, radii)}


def copies(size: str) -> Ways:
    """The density of copies of the data, 1 + 1 / k, whose distances are equal but for rounding."""
    x, _ = pairs(size)

    def own() -> float:
        radii = by_torch(x, x)[:, -1]
        return float(torch.cat([(block <= radii).sum(1) for block in blocks(x, x)]).double().mean()) / NEIGHBOURS

    return {"torch": own, "library": lambda: prdc.density_coverage(x, x, NEIGHBOURS)[0].value}


def area(size: str) -> Ways:
    """The area under the ROC curve; scikit-learn's has no standard error."""
    n, m = map(int, size.split(" + "))
    rng = np.random.default_rng(0)
    scores, others = rng.normal(size=n).round(3), rng.normal(1, 1, size=m).round(3)
    labels, both = np.arange(n + m) < n, np.concatenate([scores, others])
    return {
        "pyrogen": lambda: Estimate.exceedance(scores, others).value,
        "library": lambda: roc_auc_score(labels, both),
    }


def band(size: str) -> Ways:
    """The band of 64 latents' ranks; the lower bound in counts."""
    from arviz_stats.ecdf_utils import get_pointwise_confidence_band, simulate_confidence_bands

    n, cells = map(int, size.split(" in "))
    level, cuts = 1 - 0.05 / 64, rank_uniformity.rank_band(n, cells)[0]
    rank_uniformity._null.cache_clear()
    rank_uniformity._tails.cache_clear()

    def by_arviz() -> Any:
        rng = np.random.default_rng(0)
        pointwise = simulate_confidence_bands(n, 1, cuts, level, rank_uniformity._SIMULATIONS, rng)
        return get_pointwise_confidence_band(pointwise, n, cuts)[0] * n

    return {"pyrogen": lambda: rank_uniformity.rank_band(n, cells, level)[1] * n, "library": by_arviz}


PIECES: dict[str, tuple[Callable[[str], Ways], tuple[str, ...]]] = {
    "nearest neighbours": (neighbours, ("2000 x 64", "5000 x 64", "10000 x 64", "2000 x 784")),
    "balls": (balls, ("2000 x 64", "5000 x 64", "10000 x 64", "2000 x 784")),
    "density of copies": (copies, ("2000 x 64", "2000 x 784")),
    "area under the ROC curve": (area, ("2000 + 2000", "10000 + 60000")),
    "band of uniform ranks": (band, ("500 in 50", "1000 in 100", "4000 in 200")),
}


def measured(piece: str, size: str, way: str) -> Row:
    """Seconds, memory and result of one call, after one on the same data that loads libraries where it is cheap."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    call = PIECES[piece][0](size)[way]
    if way == "library" and piece != "band of uniform ranks":
        NearestNeighbors().fit(np.zeros((9, 1))).kneighbors(np.zeros((1, 1)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    result = call()
    seconds = time.process_time() - began
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "mebibytes": peak, "result": np.asarray(result, dtype=float).ravel().tolist()}


def compared(piece: str, size: str, rounds: int) -> Row:
    """Both ways of a piece, in turns."""
    ours = "pyrogen" if "area" in piece or "band" in piece else "torch"
    runs: dict[str, list[Row]] = {ours: [], "library": []}
    for turn in range(2 * rounds):
        way = list(runs)[turn % 2]
        command = [sys.executable, __file__, "--one", piece, size, way]
        runs[way].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    first, second = (np.array(rows[0]["result"]) for rows in runs.values())
    row: Row = {"piece": piece, "size": size, "ours": ours, "difference": float(np.abs(first - second).max())}
    row["results"] = [float(first.mean()), float(second.mean())]
    for name in ("seconds", "mebibytes"):
        best = min if name == "seconds" else max
        row[name] = [best(run[name] for run in rows) for rows in runs.values()]
    return row


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns = {
        "piece": lambda r: r["piece"],
        "size": lambda r: r["size"],
        "ours": lambda r: r["ours"],
        "mean result, ours and library": lambda r: " / ".join(f"{value:.6g}" for value in r["results"]),
        "largest difference": lambda r: f"{r['difference']:.2g}",
        "seconds, ours and library": lambda r: " / ".join(f"{value:.3g}" for value in r["seconds"]),
        "MiB, ours and library": lambda r: " / ".join(f"{value:.0f}" for value in r["mebibytes"]),
    }
    return f"""# Diagnostics beside libraries

Pieces of the diagnostics beside scikit-learn and arviz-stats, one thread. Made by `python benchmarks/{NAME}.py`.

{table(rows, columns)}
Nearest neighbours and balls are scikit-learn's since this was measured: the same to rounding, about as fast or faster,
in less memory. Distances that are equal but for rounding, as those of copies, now count as equal: 1.2 is exact.

The area under the ROC curve is pyrogen's own: scikit-learn's is the same without a standard error, which takes the
same two sorts.

The band of uniform ranks is pyrogen's own. The p-value of its statistic is offered by neither line of arviz-stats (0.8
and 1.x; `uniformity_test` of 1.x alone is another test, of continuous values). The simulated null distribution that
the p-value needs gives the band as well; arviz-stats simulates it anew in a Python loop, and the bands agree to the
noise of simulation, in counts of ranks.
"""


def main() -> None:
    """Parse, measure, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", nargs="+", metavar="piece", choices=PIECES, default=list(PIECES), help="(all)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way (3)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(*options.one)))
        return
    torch.set_num_threads(1)
    for piece in options.pieces:
        for size in PIECES[piece][1]:
            row = compared(piece, size, options.rounds)
            print(json.dumps(row), flush=True)
            record(NAME, row | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
