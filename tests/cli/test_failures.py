"""What fails says in one line what, where, and what to do: files that cannot be written, and errors of other people."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrogen
from pyrogen import fit
from pyrogen.inference.training import loop
from pyrogen.messages import as_path, printable, writing
from pyrogen.models import VAE
from tests.helpers.processes import running

ROOT = Path(pyrogen.__file__).parents[1]
SMALL = ("--set", "hidden=[4]", "--set", "latent=2", "--epochs", "1")

STORY = """
import sys
import torch
from pyrogen import Story

{start}

class Own(Story):
    def __init__(self, event_shape):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        {built}

    def model(self, x, n):
        {modelled}

    def guide(self, x, n):
        pass
"""


@pytest.mark.parametrize("command", [["train", "vae", "--data", "digits", "--out"], ["sample", "VAE", "--out"]])
@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_wrong_usage(call, vae, tmp_path, monkeypatch, command, path):
    monkeypatch.chdir(tmp_path)
    called = call(*(str(vae) if word == "VAE" else word for word in command), path)
    assert called.status == 2
    assert f"'--out': it is {path!r}: expected a path, such as runs/first" in called.line
    assert not list(tmp_path.iterdir())
    assert call("evaluate", path).status == 2


@pytest.mark.parametrize("path", ["", " ", "~nobody-here/x", "a\0b", "\udcff"])
def test_a_path_that_is_none_is_refused_before_the_first_step(path):
    with pytest.raises(ValueError, match=r"^out is .*(expected a path|nobody's home|UTF-8)"):
        fit(VAE((1, 4, 4), 2), torch.zeros(5, 1, 4, 4), out=path)
    with pytest.raises(ValueError, match="run directory is"):
        pyrogen.load(path)


@pytest.mark.parametrize("code", [0, 2, "'enough'"])
@pytest.mark.parametrize("place", ["start", "built", "modelled"])
def test_a_story_that_exits_is_a_failure(call, tmp_path, code, place):
    lines = {"start": "", "built": "pass", "modelled": "pass", place: f"sys.exit({code})"}
    (tmp_path / "own.py").write_text(STORY.format(**lines))
    called = call("train", f"{tmp_path}/own.py:Own", "--data", "digits", "--out", tmp_path / "run")
    assert called.status == 1
    assert f"sys.exit({code}) was called, in {tmp_path}/own.py line " in called.line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("raise MemoryError", "out of memory, in OWN"),
        ("bytearray(2**62)", "out of memory, in OWN"),
        ("torch.zeros(2**50)", "out of memory, in OWN"),
        ("open('nowhere')", "nowhere: No such file or directory; choose a folder that exists"),
        ("{}['k']", "KeyError: 'k', in OWN"),
        ("assert False", "AssertionError, in OWN"),
        ("fails(self, 3)", "nested too deeply, or calls itself without end"),
    ],
)
def test_errors_of_a_users_file_have_their_type_and_line(call, tmp_path, statement, text):
    own = tmp_path / "own.py"
    start = f"def fails(self, event_shape):\n    {statement}"
    own.write_text(STORY.format(start=start, built="pass", modelled="fails(self, 3)"))
    called = call("train", f"{own}:Own", "--data", "digits", "--out", tmp_path / "run")
    assert called.status == 1
    assert text.replace("OWN", f"{own} line 7 (fails)") in called.line


@pytest.mark.parametrize("statement", ["int('many')", "len(3)", "[].pop()", "torch.zeros(2) + torch.zeros(3)"])
@pytest.mark.parametrize("place", ["start", "built"])
def test_texts_of_python_and_libraries_do_not_stand_alone(call, tmp_path, statement, place):
    own = tmp_path / "own.py"
    lines = {"start": "", "built": "pass", "modelled": "pass", place: statement}
    own.write_text(STORY.format(**lines))
    called = call("train", f"{own}:Own", "--data", "digits", "--out", tmp_path / "run")
    assert called.status == 1
    assert re.search(r"(Value|Type|Index|Runtime)Error: ", called.line) or "Own cannot be built" in called.line


FULL = "cannot be written: No space left on device; free some space there, or choose another disk"


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_in_training_names_the_file_and_leaves_the_checkpoint(call, vae, tmp_path, monkeypatch):
    shutil.copytree(vae, tmp_path / "run")
    before = (tmp_path / "run" / "resume.safetensors").read_bytes()
    arguments = ["train", "vae", "--data", "digits", *SMALL[:2], "--set", "latent=4"]
    arguments[3:5] = ["digits", "--set"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        afresh = call("train", "vae", "--data", "digits", *SMALL, "--out", tmp_path / "new")
        more = ["--set", "hidden=[16]", "--set", "latent=4", "--epochs", 3, "--resume"]
        resumed = call("train", "vae", "--data", "digits", *more, "--out", tmp_path / "run")
    for called, name in ((afresh, "new"), (resumed, "run")):
        assert called.status == 1
        assert f"{tmp_path / name}/" in called.line
        assert FULL in called.line
    assert (tmp_path / "run" / "resume.safetensors").read_bytes() == before
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    assert call("train", "vae", "--data", "digits", *more, "--out", tmp_path / "run").status == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("name", ["x.npz", "x.safetensors", "x.png"])
def test_a_full_disk_in_sampling_names_the_file(call, vae, tmp_path, name):
    (tmp_path / name).symlink_to("/dev/full")
    called = call("sample", vae, "-n", 3, "--out", tmp_path / name)
    assert called.status == 1
    assert f"{tmp_path / name}: {FULL}" in called.line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_standard_output_is_a_failure():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pyrogen", "list"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("pyrogen: standard output: No space left on device; free some space")


@pytest.mark.parametrize("place", ["file/run", "/proc/nowhere/run", "x" * 300])
def test_a_place_that_cannot_be_written_to(call, vae, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    train, sample = ["train", "vae", "--data", "digits", *SMALL, "--out", place], ["sample", vae, "--out"]
    for arguments in (train, [*sample, f"{place}/x.npz"]):
        called = call(*arguments)
        assert called.status == 1
        assert place in called.line
        assert "; " in called.line.split("cannot be written: ")[1], "a remedy"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_errors_of_the_system_keep_their_number_and_gain_a_path_and_a_remedy(number):
    with pytest.raises(OSError, match="cannot be written") as caught, writing("outer"), writing("inner"):
        raise OSError(number, os.strerror(number))
    assert (caught.value.errno, caught.value.filename) == (number, "inner")
    assert caught.value.strerror.count("cannot be written") == 1


def test_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert as_path("~/run", "out") == Path("/home/me/run")


@pytest.fixture
def unfinished(tmp_path, bars, monkeypatch):
    """A run that was stopped after two epochs."""
    x = torch.from_numpy(np.load(bars)["x"])

    def stop(_, record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        fit(VAE((1, 4, 4), 2, hidden=(4,)), {"x": x}, epochs=5, out=tmp_path / "run", callbacks=[stop], progress=False)
    return tmp_path / "run"


def test_an_unfinished_run_says_so_on_standard_error(call, unfinished, bars, tmp_path):
    line = f"pyrogen: {unfinished} is not finished: these are its weights after 2 epochs; `pyrogen train ... --resume`"
    evaluated = call("evaluate", unfinished, "--data", bars, "--json")
    assert evaluated.status == 0
    assert evaluated.line.startswith(line)
    assert json.loads(evaluated.out)["n"]
    assert call("sample", unfinished, "--out", tmp_path / "x.npz").line.startswith(line)
    assert call("diagnose", unfinished, "--data", bars, "--budget", "quick").line.startswith(line)


def test_a_finished_run_says_nothing(call, vae, tmp_path):
    assert call("sample", vae, "--out", tmp_path / "x.npz").err == ""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_signal_prints_the_command_that_goes_on(call, tmp_path, number):
    out = tmp_path / "run"
    arguments = ["train", "vae", "--data", "digits", *SMALL[:4], "--no-progress", "--out", str(out), "--epochs"]
    with running([sys.executable, "-m", "pyrogen", *arguments, "500"], cwd=ROOT, text=True) as process:
        deadline = time.monotonic() + 60
        while not (out / "history.jsonl").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.startswith(f"pyrogen: {signal.Signals(number).name}: stopped after step ")
    assert errors.endswith(" --epochs 500 --resume\n")
    assert "; to resume: pyrogen train vae " in errors
    assert errors.count("\n") == 1
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "history.jsonl",
        "resume.safetensors",
        "weights.safetensors",
    }
    assert call(*arguments, "1", "--resume").status == 0


@pytest.mark.parametrize("name", ["\x1b[31m$x$.npz", "<b>$\\frac{&.npz", "a\rb\tc\n.npz", os.fsdecode(b"\xff\xfe.npz")])
def test_names_of_files_break_nothing_and_reach_no_terminal(call, bars, tmp_path, name):
    data, out = tmp_path / name, tmp_path / f"run {printable(name) if name.isascii() is False else name}"
    shutil.copy(bars, data)
    calls = [
        call("train", "vae", "--data", data, *SMALL, "--out", out),
        call("evaluate", out, "-k", 2),
        call("sample", out, "-n", 2, "--out", f"{out}.npz"),
        call("diagnose", out, "--budget", "quick"),
        call("train", "vae", "--data", data, "--out", out),
        call("evaluate", f"{out}?"),
    ]
    assert [called.status for called in calls] == [0, 0, 0, 0, 1, 1]
    shown = "".join(called.out + called.err for called in calls)
    assert not {"\x1b", "\r", "\t"} & set(shown)
    assert all(len(called.err.splitlines()) == 1 for called in calls[4:])
    report = (out / "diagnosis" / "report.html").read_text(encoding="utf-8")
    assert "<b>$" not in report
    assert "\x1b" not in report
    json.loads((out / "diagnosis" / "summary.json").read_text())


def test_columns_may_be_called_as_arguments_of_numpy(call, tmp_path):
    from pyrogen.cli.sample import _write

    columns = {"file": torch.arange(3), "allow_pickle": torch.zeros(2, 2), "a/b": torch.ones(1)}
    _write(tmp_path / "x.npz", ".npz", columns, None)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as read:
        assert {name: read[name].tolist() for name in read} == {name: c.tolist() for name, c in columns.items()}


def test_printable_keeps_letters_and_escapes_what_moves_a_cursor():
    assert printable("naïve 数\na") == "naïve 数\na"
    assert printable("\x1b[2J\r\x9b\u202e\udcff") == "\\x1b[2J\\r\\x9b\\u202e\\udcff"
