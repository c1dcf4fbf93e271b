"""Programs as strangers write them, through every operation: each answer is stock Pyro's, or the reason to refuse."""

import pytest

from pyrogen.inference.compile import compiled_step
from tests.helpers.foreign_programs import PROGRAMS
from tests.helpers.foreign_programs.trial import OPERATIONS, Trial

QUICK = [operation for operation in OPERATIONS if operation not in ("sample", "compile")]
"""Drawing data often enough to know their moments takes a second a program, compiling some."""


def test_there_are_thirty_programs_and_more():
    assert len({foreign.name for foreign in PROGRAMS}) == len(PROGRAMS) >= 30


@pytest.mark.free_store
@pytest.mark.parametrize("foreign", PROGRAMS, ids=lambda foreign: foreign.name)
def test_a_program(foreign):
    trial = Trial(foreign)
    cells = {operation: trial.cell(operation) for operation in QUICK}
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
