"""The fuzz script tells right outcomes from faults, and makes each input from its number alone."""

import json
import random
import sys
from pathlib import Path

import pytest

from tests.benchmarks.test_speed import BENCHMARKS, run

sys.path.insert(0, str(BENCHMARKS))

from fuzz.case import Case, Outcome, accepted, refused, verdict
from fuzz.settings import listed, wrong

from pyrogen.catalog import CATALOG

LINE = "pyrogen: no such option --epoch; did you mean '--epochs'?"
TRACEBACK = "Traceback (most recent call last):\n  ..."
FOREIGN = "pyrogen: TypeError: 'int' object is not iterable (--debug shows the traceback)"


def raised(call):
    try:
        call()
    except BaseException as error:
        return Outcome(1, error=error)
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("right", "outcome", "kind"),
    [
        (accepted(), Outcome(0), ""),
        (accepted(lambda o: "a number is wrong"), Outcome(0), "wrong result"),
        (accepted(), Outcome(1, err=LINE), "wrong refusal"),
        (refused("--epoch", status=2), Outcome(2, err=LINE), ""),
        (refused("--epoch", status=2), Outcome(1, err=LINE), "wrong status"),
        (refused("--steps", status=2), Outcome(2, err=LINE), "unclear message"),
        (refused(status=2), Outcome(2, err=f"{LINE}\nmore"), "unclear message"),
        (refused(status=2), Outcome(2, err="pyrogen: \x1b[31mred"), "unclear message"),
        (refused(), Outcome(0, out="done"), "silent acceptance"),
        (refused(), Outcome(1, err=TRACEBACK), "traceback"),
        (refused(), Outcome(1, err=FOREIGN), "foreign message"),
        (refused(), Outcome(1, hung=True), "hang"),
        (refused(), raised(lambda: int("x")), "foreign message"),
        (refused(), raised(lambda: {}["x"]), "foreign message"),
    ],
)
def test_a_verdict_names_the_fault(right, outcome, kind):
    assert verdict(Case("an input", [], right), outcome, changed=False)[0] == kind


def test_a_refused_input_that_changes_files_is_a_fault():
    case, outcome = Case("an input", [], refused(status=2)), Outcome(2, err=LINE)
    assert verdict(case, outcome, changed=True)[0] == "files changed"


def test_the_settings_of_every_story_are_read_from_its_documentation():
    stories = listed()
    assert stories.keys() == CATALOG.keys()
    for name, settings in stories.items():
        assert [setting.name for setting in settings] == list(CATALOG[name].settings)


@pytest.mark.parametrize("seed", range(20))
def test_values_that_are_wrong_by_the_documentation_are_wrong_by_the_schema(seed):
    rng = random.Random(seed)
    for name, settings in listed().items():
        for setting in settings:
            text = wrong(setting.takes, rng)
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = text
            assert CATALOG[name].settings[setting.name].problem(value), (name, setting.name, text)


def test_a_run_of_few_inputs_finds_no_fault_and_is_kept(tmp_path):
    state = tmp_path / "state.json"
    options = ["--here", "--work", str(tmp_path / "work"), "--state", str(state)]
    told = run("fuzz.py", *options, "--only", "labels", "damaged", "--to", "12")
    assert told.splitlines()[-1] == "no fault"
    assert {name: kept["done"] for name, kept in json.loads(state.read_text()).items()} == {"labels": 12, "damaged": 12}
    assert not list(Path(tmp_path / "work").glob("made_*"))
