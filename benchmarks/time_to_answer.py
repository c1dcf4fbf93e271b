"""The whole job: seconds from a cold start to the answer, by stock Pyro, the drop-in, `fit` and NumPyro.

    python benchmarks/time_to_answer.py --jobs regression_500 --runs 1
    python benchmarks/time_to_answer.py --data-dir DATA --numpyro-python PYTHON --keep      # recorded in results/

The same program, data, batch size, Adam and threads. Every job runs in a process of its own, whose compiler finds
nothing cached; ways take turns. The clock starts when imports are done and program and data are there, and stops when
the last step is taken, or the target met: tracing and compiling count. Of NumPyro's the compiling of XLA counts.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from recording import Row, environment, record, table
from svi.case import RATE, SEED, Columns
from svi.jobs import JOBS, Job
from svi.with_numpyro import interpreter
from torch import Tensor

from pyrogen import fit
from pyrogen.inference import SVI
from pyrogen.inference.optim.optimizer import adam
from pyrogen.story import Store

NAME = "time_to_answer"
KEY = ("device", "threads", "job", "way")
WAYS = {
    "pyro": "SVI.step over batches, validation of arguments off",
    "pyro_validated": "the same, validation on, as Pyro leaves it",
    "drop_in": "the loop of `pyro`, with pyrogen's SVI",
    "pyrogen": "fit",
    "pyrogen_eager": "fit(compile=False)",
    "numpyro": "`lax.scan` over the steps of an epoch, or over all",
}
Reached = Callable[[float], bool]
"""From a validation ELBO to whether the job ends."""


def by_loop(job: Job, train: Columns, validation: Columns | None, reached: Reached, kind: Any) -> str:
    """The loop of Pyro's tutorials, rows taken by a permutation of the resident columns."""
    model, guide = job.program()
    svi = kind(model, guide, pyro.optim.Adam({"lr": RATE}), job.objective())
    rows, taken = len(next(iter(train.values()))), 0
    takes_rows = "index" in model.__code__.co_varnames[: model.__code__.co_argcount]

    def arguments(columns: Columns, index: Tensor | None) -> list[Any]:
        if index is None:
            return list(columns.values())
        return [*(column[index] for column in columns.values()), *([index] if takes_rows else [])]

    def elbo(columns: Columns) -> float:
        count = len(next(iter(columns.values())))
        with torch.random.fork_rng([]):
            given = torch.arange(count).split(job.batch_size or count)
            return -sum(float(svi.evaluate_loss(*arguments(columns, index))) for index in given) / count

    while taken < job.steps:
        for index in [None] if job.batch_size is None else torch.randperm(rows).split(job.batch_size):
            svi.step(*arguments(train, index))
            taken += 1
            if taken == job.steps:
                break
        if validation is not None and reached(elbo(validation)):
            break
    return str(getattr(svi, "mode", "eager"))


def by_fit(job: Job, train: Columns, validation: Columns | None, reached: Reached, compile: bool | str) -> str:
    """`fit`, which ends when a callback says so."""

    def enough(_: Any, entry: Mapping[str, Any]) -> bool:
        return reached(entry["validation_elbo"])

    options: dict[str, Any] = {"callbacks": [enough]} if validation is not None else {}
    if job.batch_size is not None:
        options["batch_size"] = job.batch_size
    run = fit(
        job.program(),
        train,
        validation=validation,
        steps=job.steps,
        objective=job.objective(),
        optimizer=adam(RATE),
        seed=SEED,
        device="cpu",
        compile=compile,
        progress=False,
        **options,
    )
    return run.mode


def one(name: str, way: str, seed: int, folder: str | None) -> Row:
    """One job in this process."""
    job, began = JOBS[name], 0.0
    train, validation = job.columns(folder)
    seen: list[float] = []

    def reached(elbo: float) -> bool:
        seen.append(elbo)
        return job.target is not None and elbo >= job.target

    warnings.simplefilter("ignore")
    pyro.enable_validation(way == "pyro_validated")
    torch.manual_seed(seed)
    cpu = cpu_seconds()
    began = time.perf_counter()
    if way.startswith("pyrogen"):
        mode = by_fit(job, train, validation, reached, "auto" if way == "pyrogen" else False)
    else:
        mode = by_loop(job, train, validation, reached, SVI if way == "drop_in" else pyro.infer.SVI)
    seconds = time.perf_counter() - began
    met = job.target is None or (bool(seen) and seen[-1] >= job.target)
    used = {"cpu_seconds": round(cpu_seconds() - cpu, 3), "peak_mib": peak_mib()}
    return {"mode": mode, "seconds": round(seconds, 3) if met else None, **used, "epochs": len(seen)}


def cpu_seconds() -> float:
    """Of this process and of those that it waited for, such as compilers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak_mib() -> float:
    """The largest memory of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def by_numpyro(name: str, seed: int, options: argparse.Namespace) -> Row:
    """One job in a process of NumPyro's."""
    job = JOBS[name]
    train, validation = job.columns(options.data_dir)
    torch.manual_seed(seed)
    store = Store()
    with store.activated():
        model, guide = job.program()
        rows = {name: column[:2] for name, column in train.items()}
        if job.numpyro.endswith("vae"):
            guide(*rows.values())
            model(*rows.values())
    held = {f"start {n}": p.detach().numpy() for n, p in store.params.items()}
    held |= {f"train {n}": c.numpy() for n, c in train.items()}
    held |= {f"validation {n}": c.numpy() for n, c in (validation or {}).items()}
    about = {"rate": RATE, "steps": job.steps, "batch_size": job.batch_size, "target": job.target, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "job.npz"), **held)
        script = Path(__file__).parent / "svi" / "numpyro_job.py"
        told = json.dumps({**about, "threads": options.threads})
        command = [
            interpreter(options.numpyro_python) or "",
            str(script),
            job.numpyro,
            str(Path(folder, "job.npz")),
            told,
        ]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: Row = json.loads(ended.stdout.splitlines()[-1])
    return row


def in_a_process(name: str, way: str, seed: int, options: argparse.Namespace) -> Row:
    """A job in a process of its own, its compiler's cache empty."""
    if way == "numpyro":
        return by_numpyro(name, seed, options)
    command = [sys.executable, __file__, "--one", f"{name},{way},{seed}", "--threads", str(options.threads)]
    command += ["--data-dir", options.data_dir] if options.data_dir else []
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": str(options.threads)}
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    row: Row = json.loads(ended.stdout.splitlines()[-1])
    return row


def summarize(name: str, way: str, runs: list[Row]) -> Row:
    """A row of results from repeated runs: medians."""
    seconds = [run["seconds"] for run in runs if run["seconds"] is not None]
    figures = {key: statistics.median(run[key] for run in runs) for key in ("cpu_seconds", "peak_mib")}
    return {
        "job": name,
        "way": way,
        "about": JOBS[name].about,
        "how": WAYS[way],
        "mode": runs[0]["mode"],
        "seconds": round(statistics.median(seconds), 3) if len(seconds) == len(runs) else None,
        **figures,
        "runs": runs,
    }


def render(rows: list[Row]) -> str:
    """The results as a page."""
    found = {(r["device"], r["threads"], r["job"], r["way"]): r["seconds"] for r in rows}

    def against(row: Row, way: str) -> str:
        other = found.get((row["device"], row["threads"], row["job"], way))
        return f"{row['seconds'] / other:.2f}" if row["seconds"] and other else "-"

    columns = {
        "job": lambda r: r["job"],
        "way": lambda r: r["way"],
        "steps": lambda r: r["mode"],
        "seconds": lambda r: "-" if r["seconds"] is None else f"{r['seconds']:.2f}",
        "ratio to pyro": lambda r: against(r, "pyro"),
        "ratio to numpyro": lambda r: against(r, "numpyro"),
        "CPU seconds": lambda r: f"{r['cpu_seconds']:.1f}",
        "peak MiB": lambda r: f"{r['peak_mib']:.0f}",
        "runs": lambda r: ", ".join("-" if run["seconds"] is None else f"{run['seconds']:.2f}" for run in r["runs"]),
        "device": lambda r: r["device"],
        "threads": lambda r: str(r["threads"]),
        "date": lambda r: r["date"],
    }
    order = {name: position for position, name in enumerate((*JOBS, *WAYS))}
    rows = sorted(rows, key=lambda r: (r["device"], r["threads"], order.get(r["job"], -1), order.get(r["way"], -1)))
    jobs = {r["job"]: r["about"] for r in rows}
    ways = {r["way"]: r["how"] for r in rows}
    return (
        "# Seconds to the answer\n\n"
        "Written by `benchmarks/time_to_answer.py` from `time_to_answer.json`, which holds the rest. From a cold\n"
        "start, tracing and compiling included, to the last step or the target; medians, each run in a fresh process,\n"
        "ways in turns. Same program, data, batches and Adam; below 1 is faster. Imports are left out.\n\n"
        + table(rows, columns)
        + "\n"
        + "".join(f"- {name}: {about}\n" for name, about in {**jobs, **ways}.items())
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"with commas between them ({','.join(JOBS)})")
    parser.add_argument("--ways", default="pyro,numpyro,drop_in,pyrogen", help=f"some of {', '.join(WAYS)}")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, with other seeds (5)")
    parser.add_argument("--threads", type=int, default=1, help="of every way (1)")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    parser.add_argument("--numpyro-python", metavar="PATH", help="an interpreter that has NumPyro (this one)")
    parser.add_argument("--keep", action="store_true", help=f"record in results/{NAME}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for names, known in ((options.jobs, JOBS), (options.ways, WAYS)):
        if unknown := set(names.split(",")) - set(known):
            parser.error(f"no '{min(unknown)}' (there are: {', '.join(known)})")
    return options


def main() -> None:
    """Parse the command line, run the jobs in turn, print, record."""
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.one:
        name, way, seed = options.one.split(",")
        print(json.dumps(one(name, way, int(seed), options.data_dir)))
        return
    rows = []
    ways = [way for way in options.ways.split(",") if way != "numpyro" or interpreter(options.numpyro_python)]
    for name in options.jobs.split(","):
        runs: dict[str, list[Row]] = {way: [] for way in ways}
        for seed in range(options.runs):
            for way in ways[seed % len(ways) :] + ways[: seed % len(ways)]:
                runs[way].append(in_a_process(name, way, seed, options))
                row = ", ".join(f"{key} {value}" for key, value in runs[way][-1].items())
                print(f"{name}, {way}: {row}", file=sys.stderr, flush=True)
        done = [{**summarize(name, way, taken), **environment(torch.device("cpu"))} for way, taken in runs.items()]
        rows += done
        for row in done if options.keep else []:
            record(NAME, row, KEY, render)
    print(render(rows))


if __name__ == "__main__":
    main()
