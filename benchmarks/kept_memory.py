"""Time of a training step on the CPU, with freed memory kept between steps, as `fit` does, and without.

    python benchmarks/kept_memory.py

Compiled steps of the models of `mnist/runs.py` with plain Adam, one thread, each way in processes of its own that take
turns; the first half of a process's steps warms up, the figure is the median of processor seconds over the rest of all
of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from mnist.runs import RUNS
from recording import Row, environment, record, table

from pyrogen import data, fit
from pyrogen.data import Columns
from pyrogen.inference.svi.svi_step import SVIStep

NAME, KEY = "kept_memory", ("device", "run")
CASES = {"vae": 400, "flow": 16, "diffusion": 12, "gated_pixelcnn": 16, "pixelcnn": 24}
"""Steps of each."""


def seconds(name: str, kept: bool) -> list[float]:
    """Processor seconds of the second half of the steps of a short run."""
    if not kept:
        sys.modules[fit.__module__].keep_freed_memory = contextlib.nullcontext  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    settings, times = RUNS[name], []
    splits = data.load("mnist", seed=0, **settings.pixels())
    step = SVIStep.__call__

    def timed(self: SVIStep, *args: Any) -> Any:
        began = time.process_time()
        loss = step(self, *args)
        times.append(time.process_time() - began)
        return loss

    SVIStep.__call__ = timed  # type: ignore[method-assign]
    columns = Columns({column: splits.train[column] for column in settings.columns}, splits.train.transform)
    options: dict[str, Any] = {"batch_size": settings.batch_size, "precision": settings.precision, "progress": False}
    torch.manual_seed(0)
    fit(settings.story(), columns, steps=CASES[name], compile=True, **options)
    return times[len(times) // 2 :]


def measured(name: str, rounds: int) -> Row:
    """The median step in each way."""
    seconds_by_way: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * rounds):
        kept = turn % 2 == 0
        command = [sys.executable, __file__, "--one", name, *(["--kept"] if kept else [])]
        seconds_by_way[kept] += json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ways = {way: statistics.median(seconds_by_way[kept]) for way, kept in (("kept", True), ("returned", False))}
    return {"run": name, "batch_size": RUNS[name].batch_size, "steps": len(seconds_by_way[True]), "seconds": ways}


def render(rows: list[Row]) -> str:
    """The results as a page."""
    columns = {
        "run": lambda r: r["run"],
        "device": lambda r: r["device"],
        "batch": lambda r: str(r["batch_size"]),
        "kept": lambda r: f"{1e3 * r['seconds']['kept']:.3g} ms",
        "returned": lambda r: f"{1e3 * r['seconds']['returned']:.3g} ms",
        "ratio": lambda r: f"{r['seconds']['returned'] / r['seconds']['kept']:.2f}",
    }
    return (
        "# Memory kept between steps\n\nProcessor time of a compiled training step on one thread, with freed memory "
        "kept as `fit` does, and returned\nto the system as glibc does by itself. Made by "
        f"`python benchmarks/{NAME}.py` on MNIST; what the runs are: `mnist/runs.py`.\n\n" + table(rows, columns)
    )


def main() -> None:
    """Parse, measure, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about = f"which of {', '.join(CASES)} (all)"
    parser.add_argument("--runs", nargs="+", metavar="run", choices=CASES, default=list(CASES), help=about)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each way (2)")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(seconds(options.one, options.kept)))
        return
    torch.set_num_threads(1)
    for name in options.runs:
        row = measured(name, options.rounds)
        print(json.dumps(row), flush=True)
        record(NAME, row | environment(torch.device("cpu")), KEY, render)


if __name__ == "__main__":
    main()
