"""What `pyrogen diagnose` costs: wall and CPU seconds of the whole command, for every story of the catalog.

    python benchmarks/diagnosis_time.py --threads 1 --keep                # quick diagnoses, recorded in results/
    python benchmarks/diagnosis_time.py --stories gan diffusion --data digits
    python benchmarks/diagnosis_time.py --stories vae --set latent=20 --budget standard --steps 4000

Each story has its default settings and is trained for a few steps: how long a diagnosis takes hardly depends on the
weights. Commands run in processes of their own, imports counted. With one thread CPU seconds are what the command takes
on a machine that does nothing else. A story that is recorded already is measured anew with --again alone, so that the
command may be stopped and given again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from recording import Row, environment, read, record, table

from pyrogen.catalog import CATALOG

NAME = "diagnosis_time"
KEY = ("device", "threads", "budget", "data", "story", "settings")
TEXT, SERIES = ("language_model",), ("sequence_vae",)
_SLOWEST = 3


def own_data(story: str, folder: Path) -> str | None:
    """Data in a folder for the stories that take none of the known sets; None for the others."""
    if story in TEXT:
        lines = (f"{a} and {b} make {a + b}\n" for a in range(40) for b in range(40))
        (folder / "sums.txt").write_text("".join(lines), encoding="utf-8")
        return str(folder / "sums.txt")
    if story in SERIES:
        draws = np.random.default_rng(0)
        x, length = draws.normal(size=(2000, 20, 2)).cumsum(1), draws.integers(10, 21, 2000)
        np.savez(folder / "walks.npz", x=x.astype(np.float32), length=length)
        return str(folder / "walks.npz")
    return None


def command(*words: str, threads: int) -> tuple[float, float]:
    """Run `pyrogen` in a process of its own; wall seconds, and CPU seconds of it."""
    count = str(threads)
    settings = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pyrogen", *words], env=settings, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"pyrogen {' '.join(words)} failed with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def measure(story: str, given: argparse.Namespace) -> Row:
    """Train a story for a few steps, and diagnose it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        out, data = folder / "run", own_data(story, folder) or given.data
        steps = [] if "steps" in CATALOG[story].tiny()[0].unsupported else ["--steps", str(given.steps)]
        settings = [word for setting in given.set for word in ("--set", setting)]
        command("train", story, "--data", data, *steps, *settings, "--out", str(out), threads=given.threads)
        wall, cpu = command("diagnose", str(out), "--budget", given.budget, threads=given.threads)
        summary = json.loads((out / "diagnosis" / "summary.json").read_text(encoding="utf-8"))
    seconds = summary["protocol"]["seconds"]
    slowest = sorted((key for key in seconds if key != "total"), key=seconds.__getitem__)[: -_SLOWEST - 1 : -1]
    return {
        **environment(torch.device("cpu")),
        "threads": given.threads,
        "budget": given.budget,
        "story": story,
        "settings": " ".join(given.set),
        "data": given.data if data == given.data else Path(data).name,
        "n": summary["protocol"]["n"],
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "slowest": {key: seconds[key] for key in slowest},
    }


def rendered(rows: list[Row]) -> str:
    """The table of recorded rows."""
    columns = {
        "budget": lambda r: r["budget"],
        "story": lambda r: " ".join(filter(None, (r["story"], r["settings"]))),
        "data": lambda r: f"{r['data']}, {r['n']:,} rows",
        "CPU s": lambda r: f"{r['cpu_seconds']:.0f}",
        "wall s": lambda r: f"{r['wall_seconds']:.0f}",
        "slowest checks, s": lambda r: ", ".join(f"{k.replace('_', ' ')} {v:.1f}" for k, v in r["slowest"].items()),
    }
    about = f"{rows[0]['device']}, {rows[0]['threads']} thread(s); the machine was shared while wall time was taken."
    return f"# What a diagnosis costs\n\n{about}\n\n{table(rows, columns)}"


def main() -> None:
    """Measure the stories that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", nargs="*", default=list(CATALOG), choices=list(CATALOG), metavar="STORY")
    parser.add_argument("--data", default="mnist", help="of stories that take images")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting of the story")
    parser.add_argument("--keep", action="store_true", help="record the rows in results/")
    parser.add_argument("--again", action="store_true", help="measure what is recorded already")
    given = parser.parse_args()
    chosen = {"threads": given.threads, "budget": given.budget, "settings": " ".join(given.set)}
    known = {row["story"] for row in read(NAME) if all(row[key] == value for key, value in chosen.items())}
    for story in given.stories:
        if story in known and not given.again:
            continue
        row = measure(story, given)
        print(
            f"{story:20}{row['cpu_seconds']:8.1f} s CPU{row['wall_seconds']:8.1f} s wall  {row['slowest']}", flush=True
        )
        if given.keep:
            record(NAME, row, KEY, rendered)


if __name__ == "__main__":
    main()
