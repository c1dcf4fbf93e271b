"""Runs that are killed and resumed: their checkpoints, weights and history are those of runs that were not.

    python benchmarks/kills.py --keep      # recorded in results/; some 30 minutes
    python benchmarks/kills.py --keep --resume

Every story of the catalog is trained in a process of its own on its tiny example, with a checkpoint after each epoch,
and killed (SIGKILL) at random moments; it is resumed until it ends. Steps are eager, traced or compiled; in runs that
switch, the first steps are eager, then compiled, and those of an epoch's smaller last batch traced, then compiled.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from recording import environment, read, record, table

from pyrogen.catalog import CATALOG
from pyrogen.inference.persistence.checkpoint import load_tree

NAME = "kills"
CHILD = """
import sys, torch
from pyrogen import fit
from pyrogen.catalog import CATALOG
from pyrogen.inference.compile import dispatch
from pyrogen.inference.training import defaults, loop
loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0
name, out, epochs, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
compile = {"eager": False, "traced": "auto", "compiled": True, "switches": "auto"}[mode]
if mode == "switches":
    defaults.MIN_STEPS_TO_COMPILE, dispatch.RECOMPILE_AFTER = 1, 100
torch.set_num_threads(1)
torch.manual_seed(0)
story, data = CATALOG[name].tiny()
options = {} if "steps" in story.unsupported else {"epochs": epochs, "batch_size": 20}
print("ready", flush=True)
run = fit(story, data, out=out, resume=True, seed=1, progress=False, compile=compile, **options)
print(run.mode)
"""


def start(name: str, out: Path, epochs: int, mode: str) -> subprocess.Popen[str]:
    """Train in another process."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, name, str(out), str(epochs), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def started(name: str, out: Path, epochs: int, mode: str) -> subprocess.Popen[str]:
    """A process whose imports are done, and whose training begins."""
    process = start(name, out, epochs, mode)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a run that must succeed; how its steps were taken."""
    output, errors = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(errors[-2000:])
    return output.split()[-1]


def alike(a: Any, b: Any) -> bool:
    """Whether two trees are the same to the bit; times and the mode of steps aside."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [key for key in a if key not in ("seconds", "partial", "about", "history")]
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in keys)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
    return bool(a == b)


def examine(name: str, kills: int, epochs: int, mode: str, rng: random.Random) -> dict[str, Any]:
    """Kill a run so many times, and compare it with one that was left alone."""
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        process = started(name, whole, epochs, mode)
        began = time.monotonic()
        taken = finish(process)
        seconds, done = time.monotonic() - began, 0
        for _ in range(kills):
            process = started(name, killed, epochs, mode)
            time.sleep(rng.uniform(0, seconds / kills))
            if process.poll() is None:
                process.kill()
                done += 1
            process.communicate()
        finish(start(name, killed, epochs, mode))
        states = [load_tree(path / "resume.safetensors")[0] for path in (whole, killed)]
        weights = [load_tree(path / "weights.safetensors")[0] for path in (whole, killed)]
        histories = [
            [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in (path / "history.jsonl").open()]
            for path in (whole, killed)
        ]
        left = sorted(path.name for path in killed.iterdir() if path.name.startswith("."))
    same = alike(*states) and alike(*weights) and histories[0] == histories[1]
    row = {"story": name, "steps": mode, "mode": taken, "kills": done, "exact": same, "left": left}
    return {**row, **environment(torch.device("cpu"))}


def render(rows: list[dict[str, Any]]) -> str:
    """The table of the results."""
    kills, exact = sum(r["kills"] for r in rows), all(r["exact"] and not r["left"] for r in rows)
    intro = (
        f"# Killed runs\n\nEach run is killed (SIGKILL) at random moments and resumed; {kills} kills, "
        f"{'all exact, no file left behind' if exact else 'NOT all exact'}. Made by `python benchmarks/kills.py`."
    )
    columns = {
        "story": lambda r: r["story"],
        "steps": lambda r: r["steps"],
        "mode at the end": lambda r: r["mode"],
        "kills": lambda r: str(r["kills"]),
        "exact": lambda r: "yes" if r["exact"] else "no",
        "left behind": lambda r: ", ".join(r["left"]) or "nothing",
    }
    return f"{intro}\n\n{table(rows, columns)}"


def main() -> None:
    """Examine all stories, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=8, help="of each story")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="record the result")
    parser.add_argument("--resume", action="store_true", help="skip what is recorded")
    options = parser.parse_args()
    rng = random.Random(0)
    done = {(row["story"], row["steps"]) for row in read(NAME)} if options.resume else set()
    runs = [(name, "eager", options.kills) for name in CATALOG]
    runs += [(name, steps, 10) for steps in ("traced", "compiled", "switches") for name in ("ppca", "vae")]
    for name, mode, kills in runs:
        if (name, mode) in done:
            continue
        row = examine(name, kills, options.epochs, mode, rng)
        print({key: row[key] for key in ("story", "steps", "mode", "kills", "exact", "left")}, flush=True)
        if options.keep:
            record(NAME, row, ("story", "steps"), render)


if __name__ == "__main__":
    main()
