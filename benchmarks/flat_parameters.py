"""Whole jobs of small models: flattened parameters with an Adam of our own, or compiled gradients and torch's Adam.

    python benchmarks/flat_parameters.py --keep      # recorded in results/; an hour

Each job is one call of `fit(..., compile=True)` in a process of its own, with an empty compiler cache and one thread;
compiling counts, importing pyrogen does not. The ways take turns. CPU seconds (those of the C++ compiler included) are
recorded beside wall time, which depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

import torch
from recording import Row, environment, record, table
from svi.case import RATE
from svi.statistical import STATISTICAL

from pyrogen import fit
from pyrogen.inference.compile import dispatch
from pyrogen.inference.compile.compiled_step import CompiledGradients
from pyrogen.inference.optim import optimizer
from pyrogen.inference.optim.optimizer import adam

NAME, KEY = "flat_parameters", ("device", "case", "steps", "way")
CASES = ("eight_schools", "regression_1000", "gaussian_mixture")
STEPS = (5_000, 10_000, 20_000, 50_000)
WAYS = {
    "flat": "parameters and moments in one tensor; a step is one compiled call, with up to 100 steps between records",
    "gradients": "compiled loss and gradients, then torch's fused Adam; one step at a time",
    "gradients_many": "the same with up to 100 steps between records, which `fit` does not do",
}


class ManyGradients(CompiledGradients):
    """Compiled gradients and torch's fused Adam, many steps in one call."""

    def run_steps(self, batch: Any, max_steps: int) -> list[float]:
        """Take steps on one batch for half a second at most; the losses before them."""
        losses: list[float] = []
        start = time.monotonic()
        while len(losses) < max_steps and not (losses and time.monotonic() - start > 0.5):
            losses.append(self(batch))
        return losses


def choose(way: str) -> None:
    """Let this process take steps in that way."""
    if way != "flat":
        optimizer.MAX_FLAT_PARAMETERS = 0
    if way == "gradients_many":
        dispatch.CompiledGradients = dispatch.FusedStep = ManyGradients  # type: ignore[attr-defined, misc]


def one(case: str, steps: int, way: str) -> Row:
    """Seconds of one job in this process."""
    choose(way)
    warnings.simplefilter("ignore")
    program, columns = STATISTICAL[case].fresh(), STATISTICAL[case].data()
    objective = STATISTICAL[case].objective()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, own = time.perf_counter(), time.process_time()
    run = fit(
        program,
        columns,
        steps=steps,
        objective=objective,
        optimizer=adam(RATE),
        device="cpu",
        compile=True,
        progress=False,
    )
    wall, own = time.perf_counter() - wall, time.process_time() - own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    compiler = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    elbo = statistics.mean(entry["train_elbo"] for entry in run.history[-1000:])
    assert run.mode == "compiled"
    return {"cpu": own + compiler, "wall": wall, "first_step": run.first_step_seconds, "elbo": elbo}


def in_a_process(case: str, steps: int, way: str) -> Row:
    """The same in a process of its own, its compiler's cache empty."""
    command = [sys.executable, __file__, "--one", f"{case},{steps},{way}"]
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
        environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no workers whose seconds would not be counted
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    row: Row = json.loads(ended.stdout.splitlines()[-1])
    return row


def render(rows: list[Row]) -> str:
    """The results as a page."""
    flat = {(r["device"], r["case"], r["steps"]): r for r in rows if r["way"] == "flat"}

    def ratio(row: Row, clock: str) -> str:
        other = flat.get((row["device"], row["case"], row["steps"]))
        return "-" if other is None else f"{other[clock] / row[clock]:.2f}"

    columns = {
        "case": lambda r: r["case"],
        "steps": lambda r: f"{r['steps']:,}",
        "way": lambda r: r["way"],
        "CPU seconds": lambda r: f"{r['cpu']:.1f}",
        "flat / this": lambda r: ratio(r, "cpu"),
        "wall seconds": lambda r: f"{r['wall']:.1f}",
        "flat / this (wall)": lambda r: ratio(r, "wall"),
        "runs": lambda r: str(len(r["runs"])),
        "device": lambda r: r["device"],
        "date": lambda r: r["date"],
    }
    return (
        "# Flat parameters, or torch's fused Adam: whole jobs of small models\n\n"
        f"Written by `benchmarks/{NAME}.py` from `{NAME}.json`. One call of `fit(compile=True)`, compiling from an\n"
        "empty cache included, one thread; medians of runs in separate processes, the ways in turn. Below 1, flat\n"
        "parameters are faster.\n\n" + table(rows, columns) + "\n" + "".join(f"- {w}: {h}\n" for w, h in WAYS.items())
    )


def main() -> None:
    """Parse the command line, run the jobs in turn, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=tuple(WAYS))
    parser.add_argument("--runs", type=int, default=3, help="of each job (3)")
    parser.add_argument("--keep", action="store_true", help=f"record in results/{NAME}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        case, steps, way = options.one.split(",")
        print(json.dumps(one(case, int(steps), way)))
        return
    for case in options.cases:
        for steps in options.steps:
            runs: dict[str, list[Row]] = {way: [] for way in options.ways}
            for turn in range(options.runs):
                for way in [*options.ways[turn % 2 :], *options.ways[: turn % 2]]:
                    runs[way].append(in_a_process(case, steps, way))
                    print(case, steps, way, runs[way][-1], file=sys.stderr, flush=True)
            for way, rows in runs.items():
                medians = {name: round(statistics.median(row[name] for row in rows), 5) for name in rows[0]}
                row = {"case": case, "steps": steps, "way": way, **medians, "runs": rows}
                print(json.dumps({name: value for name, value in row.items() if name != "runs"}), flush=True)
                if options.keep:
                    record(NAME, row | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
