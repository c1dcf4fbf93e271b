"""Command lines, calls and damaged run folders that are right or wrong in a known way: each has its right outcome.

    python benchmarks/fuzz.py --keep                   # recorded in results/; some 40 minutes; goes on where it stopped
    python benchmarks/fuzz.py --again                  # what showed a fault, after it was mended
    python benchmarks/fuzz.py --only damaged --from 120 --to 121 --show

An input is determined by the seed, its family and its number; `fuzz/` makes them. A fault is a traceback, a call that
hangs, a message that is not one line of pyrogen's own with the words that must occur, a refusal of what is right, an
acceptance of what is wrong, a wrong number or exit status, or a file that a refused command has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from fuzz import calls, damage, lines, readers, settings
from fuzz.case import FAULTS, Case
from fuzz.runner import examine
from fuzz.world import World, one_thread
from recording import Row, environment, record, table

NAME = "fuzz"


class Family(NamedTuple):
    """Inputs of one kind: how one is made, how many there are, and whether each so many-th is run as a process too."""

    make: Callable[[World, random.Random], Case]
    inputs: int
    apart: int = 0


FAMILIES = {
    "train": Family(lines.train, 1500, 10),
    "settings": Family(settings.settings, 1500, 10),
    "files, command line": Family(readers.trained, 1000, 10),
    "sample": Family(lines.sample, 600, 10),
    "evaluate": Family(lines.evaluate, 500, 25),
    "other commands": Family(lines.other, 500, 10),
    "fit": Family(calls.fitted, 1000),
    "predictions": Family(calls.predicted, 1000),
    "constructors": Family(calls.constructed, 1300),
    "files, data.load": Family(readers.reader, 800),
    "labels": Family(calls.labelled, 150),
    "drop-in": Family(calls.drop_in, 150),
    "damaged": Family(damage.damaged, 1000),
}


class State:
    """What was done already, in a file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.families: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def of(self, family: str) -> dict[str, Any]:
        """The counts of a family: inputs done, processes, and the faults found."""
        return self.families.setdefault(family, {"done": 0, "apart": 0, "faults": []})

    def write(self) -> None:
        """Keep what was done."""
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.families, indent=1))
        temporary.replace(self.path)


def run(name: str, world: World, state: State, seed: int, span: Iterable[int], show: bool, here: bool) -> None:
    """Examine inputs of a family, and keep their faults."""
    family, kept = FAMILIES[name], state.of(name)
    _forget(world)
    for index in span:
        for apart in (False, True) if not here and family.apart and index % family.apart == 0 else (False,):
            case = family.make(world, random.Random(f"{seed}/{name}/{index}"))
            kind, what = examine(case, apart and not callable(case.run))
            kept["apart"] += apart and not callable(case.run) and index >= kept["done"]
            if show:
                print(f"{name} {index}: {case.text}: {kind or 'right'} {what}\n    {case.run}", flush=True)
            if kind:
                line = case.run if isinstance(case.run, list) else []
                kept["faults"].append({"index": index, "kind": kind, "input": case.text, "what": what, "line": line})
                print(f"{name} {index}: {case.text[:80]!r}: {kind}: {what[:300]}", flush=True)
        kept["done"] = max(kept["done"], index + 1)
        if index % 50 == 49:
            state.write()
            _forget(world)
    state.write()
    _forget(world)


def _forget(world: World) -> None:
    """Remove what inputs have made."""
    for path in world.folder.glob("made_*"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def rows(state: State, seed: int) -> list[Row]:
    """A row for each family."""
    about = environment(torch.device("cpu"))
    found = []
    for name, kept in state.families.items():
        kinds = Counter(fault["kind"] for fault in kept["faults"])
        counts = {"inputs": kept["done"], "as processes": kept["apart"]} | {kind: kinds[kind] for kind in FAULTS}
        found.append({"family": name, "seed": seed, **counts, **about})
    return found


def render(found: list[Row]) -> str:
    """The table of the results."""
    faults, inputs = (sum(row[k] for row in found for k in keys) for keys in (FAULTS, ("inputs",)))
    processes = sum(row["as processes"] for row in found)
    intro = (
        f"# Inputs with known outcomes\n\n{inputs:,} command lines, calls and damaged run folders, {processes} of "
        f"which were run as processes of their own too: {faults} faults. Made by `python benchmarks/{NAME}.py`, seed "
        f"{found[0]['seed']}."
    )
    columns = {name: (lambda r, n=name: str(r[n])) for name in ("family", "inputs", "as processes", *FAULTS)}
    return f"{intro}\n\n{table(found, columns)}"


def main() -> None:
    """Parse, examine, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=FAMILIES, nargs="+", default=list(FAMILIES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, help="number of the first input; by default where it stopped")
    parser.add_argument("--to", type=int, help="number behind the last one; by default all of them")
    parser.add_argument("--again", action="store_true", help="only the inputs that showed a fault")
    parser.add_argument("--show", action="store_true", help="print each input and what came of it")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "pyrogen_fuzz", help="folder of the runs"
    )
    parser.add_argument("--state", type=Path, help="file of what was done; by default in --work")
    parser.add_argument("--here", action="store_true", help="run none as a process of its own")
    parser.add_argument("--keep", action="store_true", help="record the result")
    options = parser.parse_args()
    one_thread()
    os.environ["XDG_CACHE_HOME"] = str(options.work / "cache")
    world = World(options.work)
    calls.use(world)
    os.chdir(world.folder)
    state = State((options.state or options.work / "state.json").resolve())
    for name in options.only if options.again else ():
        numbers = sorted({fault["index"] for fault in state.of(name)["faults"]})
        state.of(name)["faults"] = []
        run(name, world, state, options.seed, numbers, options.show, options.here)
    for name in () if options.again else options.only:
        begin = state.of(name)["done"] if options.first is None else options.first
        run(
            name,
            world,
            state,
            options.seed,
            range(begin, options.to or FAMILIES[name].inputs),
            options.show,
            options.here,
        )
    for row in rows(state, options.seed) if options.keep else ():
        record(NAME, row, ("family",), render)
    print(Counter(fault["kind"] for kept in state.families.values() for fault in kept["faults"]) or "no fault")


if __name__ == "__main__":
    main()
