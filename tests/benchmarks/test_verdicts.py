"""The benchmarks of verdicts run, and find the planted faults."""

import ast
import json

import pytest

from tests.benchmarks.test_speed import run


def test_planted_faults_are_found():
    output = run("planted_faults.py", "--dry", "--seeds", "1", "--exact-seeds", "2", "--right-seeds", "1")
    rows = [ast.literal_eval(line) for line in output.splitlines()]
    assert len(rows) == 17
    assert all(row["right"] == row["seeds"] for row in rows)
    assert rows[0]["verdicts"] == {"believe": 2}


@pytest.mark.slow
@pytest.mark.parametrize(("posterior", "guide", "right"), [("kidiq", "mean-field", "no"), ("mixture", "flow", "yes")])
def test_the_verdict_agrees_with_reference_draws(data_root, posterior, guide, right):
    row = json.loads(run("reference_posteriors.py", "--dry", "--posterior", posterior, "--guide", guide))
    assert (row["right"], row["agrees"], row["draws"]) == (right, True, 4000)
