"""The benchmarks of speed run, and refuse to compare what is not the same. No speed is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script, *options):
    """What a benchmark writes to standard output."""
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / script), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_svi_step_prints_rows_and_nothing_else():
    variants = ["pyro", "torch", "pyrogen_eager", "torch_captured"]
    told = run("svi_step.py", "--cases", "eight_schools", "--variants", ",".join(variants), "--rounds", "2", "--json")
    rows = {row["variant"]: row for row in json.loads(told)}
    assert sorted(rows) == sorted(variants)
    for row in rows.values():
        assert list(row)[:3] == ["case", "variant", "ms"]
        assert (row["case"], row["threads"], row["device"]) == ("eight_schools", 1, "cpu")
        assert row["ratio_to_torch_compiled"] is None
    for name in ("pyro", "torch", "pyrogen_eager"):
        assert rows[name]["ratio_to_pyro"] == pytest.approx(rows[name]["ms"] / rows["pyro"]["ms"], rel=1e-3)
        assert rows[name]["ratio_to_torch"] == pytest.approx(rows[name]["ms"] / rows["torch"]["ms"], rel=1e-3)
    assert rows["torch_captured"]["ms"] is None  # there is no CUDA graph on a CPU


@pytest.fixture
def steps(monkeypatch):
    """The parts of the benchmark, and eight schools in plain torch as one of its variants."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from svi import measuring
    from svi.case import initial_values
    from svi.statistical import STATISTICAL
    from svi.with_torch import Torch

    case = STATISTICAL["eight_schools"]
    monkeypatch.setattr(measuring, "CHECK_SECONDS", 0.1)

    def made(name="torch"):
        return Torch(name, case, initial_values(case), torch.device("cpu"))

    def hold(*variants):
        measuring._hold_against_each_other("case", variants, {v.name: measuring.Timing(v.name) for v in variants})

    return made, hold


def test_variants_with_the_same_loss_may_be_compared(steps):
    made, hold = steps
    hold(made(), made("other"))


def test_another_loss_is_refused(steps):
    made, hold = steps
    other = made("other")
    loss = other.loss
    other.loss = lambda p, *columns: loss(p, *columns) + 20.0
    with pytest.raises(AssertionError, match=r"case, other: the loss at the start is .* that of torch"):
        hold(made(), other)


def test_a_parameter_that_does_not_move_is_refused(steps):
    made, hold = steps
    other = made("other")
    loss = other.loss
    other.loss = lambda p, *columns: loss({**p, "loc": p["loc"].detach()}, *columns)
    other.optimizer.state.clear()
    with pytest.raises(AssertionError, match="case, other: parameter 'loc' does not move"):
        hold(made(), other)


def test_time_to_answer_runs_each_way_in_a_process():
    told = run("time_to_answer.py", "--jobs", "eight_schools_200", "--ways", "pyro,drop_in,pyrogen", "--runs", "1")
    lines = [line.split(" | ") for line in told.splitlines() if line.startswith("| eight_schools")]
    assert [line[1:3] for line in lines] == [["pyro", "eager"], ["drop_in", "traced"], ["pyrogen", "traced"]]
