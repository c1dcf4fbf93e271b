"""Programs as strangers write them through every operation: a table of cells that are right, or refused with a reason.

    python benchmarks/foreign_programs.py                              # every program; compiling takes minutes
    python benchmarks/foreign_programs.py "linear regression" --dry    # those whose name holds the words, not recorded

What is right is said by stock Pyro at the same seed, or by a formula; `tests/helpers/foreign_programs` holds both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from recording import Row, environment, record, table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.helpers.foreign_programs import PROGRAMS, Foreign
from tests.helpers.foreign_programs.trial import OPERATIONS, Trial

NAME = "foreign_programs"
ORDER = {foreign.name: i for i, foreign in enumerate(PROGRAMS)}


def row(foreign: Foreign) -> Row:
    """The cells of a program."""
    trial, start = Trial(foreign), time.perf_counter()
    cells = {operation: trial.cell(operation) for operation in OPERATIONS}
    return {"program": foreign.name, **cells, "seconds": round(time.perf_counter() - start, 1)}


def render(rows: list[Row]) -> str:
    """The results as a page: the table, and the refusals below it."""
    rows = sorted(rows, key=lambda r: ORDER.get(r["program"], len(ORDER)))
    told = [(r["program"], operation, r[operation]) for r in rows for operation in OPERATIONS]
    kinds = {kind: sum(cell.startswith(kind) for *_, cell in told) for kind in ("right", "refused", "WRONG")}
    columns: dict[str, Callable[[Row], str]] = {"program": lambda r: r["program"]}
    columns |= {operation: (lambda r, o=operation: r[o].partition(":")[0]) for operation in OPERATIONS}
    reasons = "".join(f"- {name}, `{operation}`: {cell}\n" for name, operation, cell in told if cell != "right")
    versions = rows[0]["versions"]
    return (
        f"# Foreign programs\n\n{len(rows)} programs as strangers write them, {len(told)} cells: {kinds['right']} "
        f"right, {kinds['refused']} refused with a reason, {kinds['WRONG']} wrong. Losses, draws, moments, "
        "log-likelihoods and weights are compared with stock Pyro's at the same seed "
        f"(Pyro {versions['pyro-ppl']}, torch {versions['torch']}). "
        f"Made by `python benchmarks/{NAME}.py`.\n\n{table(rows, columns)}\n{reasons}"
    )


def main() -> None:
    """Parse, try, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of names of programs; all of them if left out")
    parser.add_argument("--dry", action="store_true", help="print, and record nothing")
    options = parser.parse_args()
    for foreign in PROGRAMS:
        if options.words and not any(word in foreign.name for word in options.words):
            continue
        told = row(foreign)
        print(told, flush=True)
        if not options.dry:
            record(NAME, told | environment(torch.device("cpu")), ("program",), render)


if __name__ == "__main__":
    main()
