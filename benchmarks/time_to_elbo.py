"""The whole job: seconds until the validation ELBO reaches a target, by pyrogen's `fit` and by the stock Pyro loop.

    python benchmarks/time_to_elbo.py --quick
    python benchmarks/time_to_elbo.py --data-dir DATA --keep      # recorded in results/

The same program, weights, batches in the same order, Adam, and validation after each epoch, by the same draws. Every
job runs in a process of its own, whose compiler finds nothing cached. The clock starts when program and data are there,
and compiling counts; it stops when the target is met.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from recording import Row, environment, record, table
from svi.case import RATE, Columns
from svi.jobs import JOBS, Job
from torch import Tensor

from pyrogen import fit
from pyrogen.inference.optim.optimizer import adam

NAME = "time_to_elbo"
KEY = ("device", "threads", "case", "quick", "way")
WAYS = {
    "pyro": "SVI.step over batches, as in Pyro's tutorials",
    "pyro_novalidate": "the same, validation of arguments off",
    "pyrogen": "fit, steps compiled where it pays",
    "pyrogen_eager": "fit, steps not compiled",
}
Check = Callable[[int, float], bool]


def by_pyro(job: Job, train: Columns, validation: Columns, seed: int, reached: Check, **options: Any) -> Row:
    """The loop of Pyro's tutorials, rows taken by a permutation of the resident columns."""
    pyro.enable_validation(options["validate"])
    model, guide = job.program()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": RATE}), Trace_ELBO())
    rows = len(next(iter(train.values())))
    takes_rows = "index" in model.__code__.co_varnames[: model.__code__.co_argcount]
    order = torch.Generator().manual_seed(seed)
    pyro.set_rng_seed(seed)

    def arguments(columns: Columns, index: Tensor) -> list[Any]:
        batch: list[Any] = [column[index] for column in columns.values()]
        return [*batch, rows, index] if takes_rows else batch

    def loss_per_datum(step: Callable[..., Any], columns: Columns, index: Tensor) -> float:
        return float(step(*arguments(columns, index))) / (rows if takes_rows else len(index)) * len(index)

    def elbo() -> float:
        given = torch.arange(len(next(iter(validation.values())))).split(job.batch_size)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            total = sum(loss_per_datum(svi.evaluate_loss, validation, index) for index in given)
        return -total / sum(map(len, given))

    for epoch in range(1, job.epochs + 1):
        for index in torch.randperm(rows, generator=order).split(job.batch_size):
            loss_per_datum(svi.step, train, index)
        if reached(epoch, elbo()):
            break
    return {"mode": "eager"}


def by_pyrogen(job: Job, train: Columns, validation: Columns, seed: int, reached: Check, **options: Any) -> Row:
    """`fit`, which ends when a callback says so."""

    def enough(_: Any, entry: Mapping[str, Any]) -> bool:
        return reached(entry["epoch"], entry["validation_elbo"])

    run = fit(
        job.program(),
        train,
        validation=validation,
        epochs=job.epochs,
        batch_size=job.batch_size,
        optimizer=adam(RATE),
        seed=seed,
        device="cpu",
        compile=options["compile"],
        progress=False,
        callbacks=[enough],
    )
    return {"mode": run.mode}


def one(name: str, way: str, seed: int, folder: str | None, quick: bool, epochs: int | None) -> Row:
    """One job: seconds to the target, None where it was not met, and the last validation ELBO."""
    job = dataclasses.replace(JOBS[name], epochs=epochs or JOBS[name].epochs)
    train, validation = job.columns(folder, quick)
    target, seen, began = job.target[quick], [(0.0, -math.inf)], 0.0

    def reached(epoch: int, elbo: float) -> bool:
        seen.append((time.perf_counter() - began, elbo))
        return elbo >= target

    torch.manual_seed(seed)
    warnings.simplefilter("ignore")
    by = functools.partial(by_pyro, validate=way == "pyro")
    if way.startswith("pyrogen"):
        by = functools.partial(by_pyrogen, compile="auto" if way == "pyrogen" else False)
    began = time.perf_counter()
    outcome = by(job, train, validation, seed, reached)
    seconds, elbo = seen[-1]
    later = [b - a for (a, _), (b, _) in itertools.pairwise(seen[1:])]
    return {
        **outcome,
        "seconds": round(seconds, 3) if elbo >= target else None,
        "epochs": len(seen) - 1,
        "validation_elbo": elbo,
        "first_epoch_seconds": round(seen[1][0], 3),
        "later_epoch_seconds": round(statistics.median(later), 4) if later else None,
    }


def in_a_process(name: str, way: str, seed: int, options: argparse.Namespace) -> Row:
    """The same in a process of its own, its compiler's cache empty."""
    command = [sys.executable, __file__, "--one", f"{name},{way},{seed}", "--threads", str(options.threads)]
    command += ["--quick"] if options.quick else []
    command += ["--data-dir", options.data_dir] if options.data_dir else []
    command += ["--epochs", str(options.epochs)] if options.epochs else []
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": str(options.threads)}
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    row: Row = json.loads(ended.stdout.splitlines()[-1])
    return row


def summarize(name: str, way: str, runs: list[Row], quick: bool) -> Row:
    """A row of results from repeated runs: medians."""
    reached = [run["seconds"] for run in runs if run["seconds"] is not None]
    return {
        "case": name,
        "way": way,
        "about": JOBS[name].about,
        "how": WAYS[way],
        "target": JOBS[name].target[quick],
        "quick": quick,
        "mode": runs[0]["mode"],
        "seconds": statistics.median(reached) if len(reached) == len(runs) else None,
        "epochs": statistics.median(run["epochs"] for run in runs),
        "runs": runs,
    }


def render(rows: list[Row]) -> str:
    """The results as a page."""
    stock = {(r["device"], r["threads"], r["case"], r["quick"]): r["seconds"] for r in rows if r["way"] == "pyro"}

    def against(row: Row) -> str:
        other = stock.get((row["device"], row["threads"], row["case"], row["quick"]))
        return f"{row['seconds'] / other:.2f}" if row["seconds"] and other else "-"

    columns = {
        "case": lambda r: r["case"],
        "way": lambda r: r["way"],
        "steps": lambda r: r["mode"],
        "validation ELBO": lambda r: f"{r['target']:g}",
        "seconds": lambda r: "-" if r["seconds"] is None else f"{r['seconds']:.1f}",
        "ratio to pyro": against,
        "epochs": lambda r: f"{r['epochs']:g}",
        "an epoch": lambda r: (
            " s, ".join(f"{run['later_epoch_seconds'] or run['first_epoch_seconds']:.2f}" for run in r["runs"]) + " s"
        ),
        "runs": lambda r: str(len(r["runs"])),
        "device": lambda r: r["device"],
        "threads": lambda r: str(r["threads"]),
        "date": lambda r: r["date"],
    }
    cases = {r["case"]: r["about"] for r in rows}
    return (
        "# Seconds to a given validation ELBO\n\n"
        "Written by `benchmarks/time_to_elbo.py` from `time_to_elbo.json`, which holds the rest.\n"
        "From a cold start, compiling included, to the first epoch whose validation ELBO (nats per datum) meets the\n"
        "target; medians over runs of other seeds. Same program, weights, batches and Adam; below 1 is faster.\n\n"
        + table(rows, columns)
        + "\n"
        + "".join(f"- {case}: {about}\n" for case, about in cases.items())
        + "".join(f"- {way}: {how}\n" for way, how in WAYS.items() if any(r["way"] == way for r in rows))
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(JOBS), help=f"with commas between them ({','.join(JOBS)})")
    parser.add_argument("--ways", default="pyro,pyro_novalidate,pyrogen", help=f"some of {', '.join(WAYS)}")
    parser.add_argument("--quick", action="store_true", help="less data, a nearer target, one run of each")
    parser.add_argument("--epochs", type=int, help="give up after so many (40 or 200)")
    parser.add_argument("--runs", type=int, help="runs of each, with other seeds (3)")
    parser.add_argument("--threads", type=int, default=1, help="of every way (1)")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    parser.add_argument("--keep", action="store_true", help=f"record in results/{NAME}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for names, known in ((options.cases, JOBS), (options.ways, WAYS)):
        if unknown := set(names.split(",")) - set(known):
            parser.error(f"no '{min(unknown)}' (there are: {', '.join(known)})")
    return options


def main() -> None:
    """Parse the command line, run the jobs in turn, print, record."""
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.one:
        name, way, seed = options.one.split(",")
        print(json.dumps(one(name, way, int(seed), options.data_dir, options.quick, options.epochs)))
        return
    rows = []
    ways = options.ways.split(",")
    for name in options.cases.split(","):
        runs: dict[str, list[Row]] = {way: [] for way in ways}
        for seed in range(options.runs or (1 if options.quick else 3)):
            for way in ways[seed % len(ways) :] + ways[: seed % len(ways)]:
                runs[way].append(in_a_process(name, way, seed, options))
                row = ", ".join(f"{key} {value}" for key, value in runs[way][-1].items())
                print(f"{name}, {way}: {row}", file=sys.stderr, flush=True)
        rows += [
            {**summarize(name, way, results, options.quick), **environment(torch.device("cpu"))}
            for way, results in runs.items()
        ]
    print(render(rows))
    for row in rows if options.keep else []:
        record(NAME, row, KEY, render)


if __name__ == "__main__":
    main()
