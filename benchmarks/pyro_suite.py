"""Pyro's own tests that use SVI, with pyrogen's drop-in in place of stock: no test that passes with stock may fail.

    git clone --branch 1.9.1 https://github.com/pyro-ppl/pyro PYRO
    python benchmarks/pyro_suite.py PYRO --keep     # recorded in results/; hours; goes on where it stopped

Each file of tests runs in two processes, one after the other: with stock SVI, then with the drop-in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import torch
from recording import environment, record, table

NAME = "pyro_suite"
FILES = (
    "infer/test_autoguide.py",
    "infer/test_enum.py",
    "infer/test_gradient.py",
    "infer/test_inference.py",
    "infer/test_predictive.py",
    "infer/test_valid_models.py",
    "infer/test_multi_sample_elbos.py",
    "infer/test_conjugate_gradients.py",
    "optim",
    "nn/test_module.py",
    "contrib/easyguide",
    "contrib/forecast",
    "contrib/cevae",
    "contrib/gp",
)
PLUGINS = Path(__file__).parent / NAME


def run(source: Path, file: str, drop_in: bool, seconds: int) -> dict[str, str]:
    """The outcome of each test of a file: passed, failed, error or skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        plugin = ["-p", "stock_replaced"] if drop_in else []
        command = [sys.executable, "-m", "pytest", "-q", *plugin, f"tests/{file}"]
        command += ["-p", "no:cacheprovider", "--junitxml", str(report), "-o", "junit_family=xunit1"]
        path = os.pathsep.join([str(PLUGINS), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environ = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=source, env=environ, timeout=seconds, check=False, stdout=subprocess.DEVNULL)
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {f"{case.get('classname')}::{case.get('name')}": outcome(case) for case in cases}


def outcome(case: Any) -> str:
    """What became of a test."""
    found = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
    return found[0] if found else "passed"


def row(file: str, stock: dict[str, str], drop_in: dict[str, str]) -> dict[str, Any]:
    """The counts of a file, and the tests that pass with stock SVI alone."""
    passed = [name for name, result in stock.items() if result == "passed"]
    lost = [name for name in passed if drop_in.get(name) != "passed"]
    both = {"tests": len(stock), "pass with stock": len(passed), "pass with both": len(passed) - len(lost)}
    return {"file": file, **both, "lost": lost, **environment(torch.device("cpu"))}


def render(rows: list[dict[str, Any]]) -> str:
    """The table of the results."""
    columns = {
        name: (lambda r, n=name: str(r[n])) for name in ("file", "tests", "pass with stock", "pass with both")
    } | {"lost": lambda r: ", ".join(r["lost"]) or "none"}
    lost = sum(len(r["lost"]) for r in rows)
    intro = (
        "# Pyro's own tests with the drop-in\n\nPyro's tests that use SVI (release 1.9.1, run by Pyro "
        f"{rows[0]['versions']['pyro-ppl']}), with `pyrogen.inference.SVI` in place of `pyro.infer.SVI`, its steps "
        "traced from the second one on; lost: tests "
        f"that pass with stock SVI and not with the drop-in, {lost} in all. Made by `python benchmarks/pyro_suite.py`."
    )
    return f"{intro}\n\n{table(rows, columns)}"


def main() -> None:
    """Run what has not run yet, and print and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkout of Pyro")
    parser.add_argument("files", nargs="*", default=FILES, help="of its tests; all that use SVI if left out")
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir()) / "pyro_suite.json")
    parser.add_argument("--seconds", type=int, default=6 * 3600, help="time limit of a file")
    parser.add_argument("--keep", action="store_true", help="record the result")
    options = parser.parse_args()
    state = json.loads(options.state.read_text()) if options.state.is_file() else {}
    for file in options.files:
        for way in ("stock", "drop-in"):
            if f"{file} {way}" not in state:
                state[f"{file} {way}"] = run(options.source, file, way == "drop-in", options.seconds)
                options.state.write_text(json.dumps(state))
        result = row(file, state[f"{file} stock"], state[f"{file} drop-in"])
        print(file, {key: result[key] for key in ("tests", "pass with stock", "pass with both", "lost")}, flush=True)
        if options.keep:
            record(NAME, result, ("file",), render)


if __name__ == "__main__":
    main()
