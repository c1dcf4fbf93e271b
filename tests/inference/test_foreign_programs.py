"""Programs as strangers write them, through every operation: each answer is stock Pyro's, or the reason to refuse."""

import shutil

import pytest

from pyrogen import fit
from pyrogen.diagnostics import to_datatree
from pyrogen.inference import posterior
from pyrogen.inference.compile import compiled_step
from tests.helpers.foreign_programs import PROGRAMS, trial
from tests.helpers.foreign_programs.trial import OPERATIONS, Trial

QUICK = [operation for operation in OPERATIONS if operation not in ("sample", "compile")]
"""Drawing data often enough to know their moments takes a second a program, compiling some."""


def test_there_are_thirty_programs_and_more():
    assert len({foreign.name for foreign in PROGRAMS}) == len(PROGRAMS) >= 30


@pytest.mark.free_store
@pytest.mark.parametrize("foreign", PROGRAMS, ids=lambda foreign: foreign.name)
def test_a_program(foreign):
    row = Trial(foreign)
    cells = {operation: row.cell(operation) for operation in QUICK}
    assert not {operation: cell for operation, cell in cells.items() if cell.startswith("WRONG")}


@pytest.mark.slow
@pytest.mark.free_store
@pytest.mark.parametrize("foreign", PROGRAMS, ids=lambda foreign: foreign.name)
def test_samples_of_a_program(foreign):
    assert not Trial(foreign).cell("sample").startswith("WRONG")


@pytest.mark.slow
@pytest.mark.free_store
@pytest.mark.parametrize("foreign", PROGRAMS, ids=lambda foreign: foreign.name)
def test_compiling_a_program(foreign, monkeypatch):
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)  # traced, and run as it is
    assert not Trial(foreign).cell("compile").startswith("WRONG")


def by_another_seed(*args, **options):
    return fit(*args, **options, seed=1)


def started_anew(*args, **options):
    if options["resume"]:
        shutil.rmtree(options["out"])
    return fit(*args, **{**options, "resume": False, "seed": int(options["resume"])})


def with_shifted_samples(*args, **options):
    run = fit(*args, **options)
    draw = run.story.sample
    vars(run.story)["sample"] = lambda n, **given: draw(n, **given) + 0.5
    return run


def shifted(*args, **options):
    return {name: draws + 0.01 for name, draws in posterior(*args, **options).items()}


def of_other_rows(run, data, **options):
    return to_datatree(run, {**data, "x": data["x"].flip(0)}, **options)


def untrained(folder, into, arguments):
    return fit(into, PROGRAMS[0].data, steps=1, progress=False)


FAULTS = {
    "fit": ("fit", by_another_seed, "losses"),
    "sample": ("fit", with_shifted_samples, "moment 1 of y"),
    "posterior": ("posterior", shifted, "draw 0 of slope"),
    "to_datatree": ("to_datatree", of_other_rows, "log_likelihood of y"),
    "save": ("fit", by_another_seed, "'AutoNormal.locs.slope'"),
    "load": ("load", untrained, "draws of slope differ"),
    "resume": ("fit", started_anew, "checkpoints differ"),
    "compile": ("fit", by_another_seed, "losses"),
}


@pytest.mark.free_store
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_answer_is_seen(operation, monkeypatch):
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)
    name, fault, told = FAULTS[operation]
    monkeypatch.setattr(trial, name, fault)
    assert Trial(PROGRAMS[0]).cell(operation).startswith(f"WRONG: {told}")


@pytest.mark.free_store
def test_a_refusal_without_its_reason_is_seen(monkeypatch):
    def refusing(*args, **options):
        raise ValueError("no")

    monkeypatch.setattr(trial, "posterior", refusing)
    assert Trial(PROGRAMS[0]).cell("posterior") == "WRONG: ValueError: no"
    unexpected = next(foreign for foreign in PROGRAMS if "posterior" in foreign.refuses)
    assert Trial(unexpected).cell("posterior") == "WRONG: ValueError: no"
