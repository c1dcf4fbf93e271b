"""SIGTERM and SIGHUP end a run with a checkpoint and one line; what goes on from there is exact."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from pyrogen import fit, load
from pyrogen.inference.training.termination import RESUME_COMMAND, SIGNALS, Terminated
from pyrogen.models import PPCA
from tests.helpers.processes import running

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.usefixtures("default_signals"),
]
ROOT = str(Path(__file__).parents[3])
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


class Interrupting(PPCA):
    """Sends this process a signal in one of its steps."""

    prepare = None

    def __init__(self, at=0, number=signal.SIGTERM, times=1):
        super().__init__(5, 2)
        self.runs = 0
        self.at, self.number, self.times = at, number, times

    def guide(self, x, n):
        if self.training and torch.is_grad_enabled():
            self.runs += 1
            for _ in range(self.times if self.runs == self.at else 0):
                os.kill(os.getpid(), self.number)
        return super().guide(x, n)


def run(folder, at=0, number=signal.SIGTERM, data=X, **options):
    torch.manual_seed(0)
    chosen = {"epochs": 3, "batch_size": 10, "compile": False, "progress": False}
    return fit(Interrupting(at, number), data, out=folder, **{**chosen, **options})


@pytest.fixture(autouse=True)
def _handlers_stay(default_signals):
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert before == [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS, ids=str)
@pytest.mark.parametrize("at", [3, 5, 8])
def test_a_signal_leaves_a_checkpoint_that_goes_on_exactly(tmp_path, capsys, number, at, monkeypatch):
    monkeypatch.setattr("pyrogen.inference.persistence.config._encode", lambda _: None)  # the moment is no option
    whole = run(tmp_path / "whole")
    with pytest.raises(Terminated) as caught:
        run(tmp_path / "run", at, number)
    assert caught.value.code == 128 + number
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith(f"pyrogen: {signal.Signals(number).name}: stopped after step ")
    assert line.endswith(f"to resume: fit(..., out='{tmp_path / 'run'}', resume=True)")
    assert not load(tmp_path / "run", into=Interrupting()).finished
    resumed = run(tmp_path / "run", resume=True)
    assert [{**each, "seconds": 0} for each in resumed.history] == [{**each, "seconds": 0} for each in whole.history]
    for name, weight in whole.story.state_dict().items():
        assert torch.equal(resumed.story.state_dict()[name], weight)
    assert load(tmp_path / "run", into=Interrupting()).finished


def test_the_command_that_resumes_is_that_of_the_command_line(tmp_path, capsys):
    token = RESUME_COMMAND.set("pyrogen train \x1b[31m --resume")
    try:
        with pytest.raises(Terminated):
            run(tmp_path / "run", 5)
    finally:
        RESUME_COMMAND.reset(token)
    assert capsys.readouterr().err.endswith("; to resume: pyrogen train \\x1b[31m --resume\n")


def test_whole_data_in_one_call_as_well(tmp_path, capsys):
    with pytest.raises(Terminated):
        run(tmp_path / "run", 20, batch_size=None, epochs=150)
    assert "stopped after step 20;" in capsys.readouterr().err
    assert len(load(tmp_path / "run", into=Interrupting()).history) == 19


def test_a_signal_in_the_last_step_ends_what_is_finished(tmp_path, capsys):
    with pytest.raises(Terminated):
        run(tmp_path / "run", 12, epochs=None, steps=12)
    assert capsys.readouterr().err == "pyrogen: SIGTERM: the run is finished\n"
    assert load(tmp_path / "run", into=Interrupting()).finished


def test_a_loader_that_cannot_go_on_within_an_epoch_says_where_it_goes_on(tmp_path, capsys):
    loader = DataLoader(X, batch_size=10, shuffle=True)
    with pytest.raises(Terminated):
        run(tmp_path / "run", 3, data=loader, batch_size=None)
    assert "no checkpoint is in" in capsys.readouterr().err


def test_handlers_of_the_program_stay_its_own(tmp_path):
    came = []
    former = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        run(tmp_path / "run", 5)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert came == [signal.SIGTERM]


def test_a_nested_fit_ends_the_outer_one(tmp_path, capsys):
    def inner(*_):
        run(tmp_path / "inner", 4)

    with pytest.raises(Terminated):
        run(tmp_path / "outer", callbacks=[inner])
    assert str(tmp_path / "inner") in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob(".*")} == set()


PROCESS = """
import os, sys, time
sys.path.insert(0, {root!r})
from tests.inference.training.test_termination import *
{setup}
run({folder!r}, {at}, epochs=10**6, **{options})
"""


@pytest.mark.parametrize(
    ("setup", "at", "options", "status"),
    [
        ("", 5, {}, 143),
        ("Interrupting.number = 1", 5, {"out": None}, -signal.SIGTERM),  # nothing is kept: it ends at once
        ("from functools import partial; Interrupting = partial(Interrupting, times=2)", 5, {}, -signal.SIGTERM),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.alarm(3)", 5, {}, -signal.SIGALRM),
    ],
    ids=["once", "nowhere", "twice", "ignored"],
)
def test_the_status_of_the_process(tmp_path, setup, at, options, status):
    code = PROCESS.format(root=ROOT, folder=str(tmp_path / "run"), setup=setup, at=at, options={})
    if "out" in options:
        code = code.replace(f"run({str(tmp_path / 'run')!r}", "run(None")
    if "partial" in setup:
        code = code.replace(
            "run(", "import tests.inference.training.test_termination as m; m.Interrupting = Interrupting; run("
        )
    with running([sys.executable, "-c", code], env={**os.environ, "PYTHONWARNINGS": "ignore"}, text=True) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
