"""The benchmarks of verdicts run, and find what they look for."""

import ast
import json

from tests.benchmarks.test_speed import run


def test_planted_faults_are_told():
    told = run("planted_faults.py", "--dry", "--seeds", "1", "--exact-seeds", "2")
    rows = [ast.literal_eval(line) for line in told.splitlines()]
    assert len(rows) == 6
    assert all(row["right"] == row["seeds"] for row in rows)
    assert rows[0]["verdicts"] == {"believe": 2}


def test_the_verdict_agrees_with_reference_draws(data_root):
    """A mean-field guide is right of a mixture, and wrong of a line far from the origin."""
    for posterior, right in (("mixture", True), ("kidiq", False)):
        options = ["--posterior", posterior, "--guide", "mean-field", "--steps", "2500", "--budget", "quick"]
        row = json.loads(run("reference_posteriors.py", "--dry", *options))
        assert (row["right"], row["agrees"]) == (right, True)
        assert row["draws"] == 1000
