"""One process at a time writes to a run directory, and the next one tidies up after one that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyrogen import fit, load
from pyrogen.inference import RunDirectory
from pyrogen.inference.persistence.folder_lock import locked
from pyrogen.models import PPCA
from tests.helpers.processes import running

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and signals as POSIX has them")
ROOT = str(Path(__file__).parents[3])
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from pyrogen.inference.persistence.folder_lock import locked
with locked(Path({folder!r})):
    print("held", flush=True)
    {then}
"""


def held(folder, then="time.sleep(60)"):
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return running([sys.executable, "-c", HOLD.format(root=ROOT, folder=str(folder), then=then)], env=env)


def run(folder, epochs=2, **options):
    return fit(PPCA(5, 2), X, epochs=epochs, out=folder, progress=False, **options)


@pytest.mark.parametrize("options", [{}, {"resume": True}], ids=["afresh", "resume"])
def test_a_second_process_is_refused_at_once_and_writes_nothing(tmp_path, options):
    folder = tmp_path / "run"
    with held(folder) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=rf"another process \({process.pid}\) is writing to .*run: wait until"):
            run(folder, **options)
        assert {path.name for path in folder.iterdir()} == {".lock"}


def test_saving_is_refused_as_well(tmp_path):
    trained = fit(PPCA(5, 2), X, epochs=1, progress=False)
    with held(tmp_path / "run") as process:
        process.stdout.readline()
        with pytest.raises(ValueError, match="is writing to"):
            trained.save(tmp_path / "run")
    trained.save(tmp_path / "run")
    assert load(tmp_path / "run").finished


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=str)
def test_the_lock_ends_with_its_process(tmp_path, number):
    with held(tmp_path / "run") as process:
        process.stdout.readline()
        process.send_signal(number)
        process.communicate()
    run(tmp_path / "run")
    assert ".lock" not in os.listdir(tmp_path / "run")


def test_a_forked_child_neither_holds_the_lock_nor_ends_it(tmp_path):
    folder = tmp_path / "run"
    child = (
        "import os; pid = os.fork(); os.waitpid(pid, 0) if pid else None; print('back', flush=True) if pid else None"
    )
    with held(folder, f"{child}\n    if pid: time.sleep(60)") as process:
        assert process.stdout.readline() == b"held\n"
        assert process.stdout.readline() == b"back\n"  # the child has left the block
        with pytest.raises(ValueError, match="is writing to"), locked(folder):
            pass
    with held(folder, "import os\n    if os.fork(): os.kill(os.getpid(), 9)\n    time.sleep(5)") as process:
        process.stdout.readline()
        process.wait()
        with locked(folder):  # the child that still runs does not hold it
            pass


def test_a_nested_fit_has_its_own_folder_and_may_not_take_the_outer_one(tmp_path):
    def inner(*_):
        run(tmp_path / "inner", resume=True)
        with pytest.raises(ValueError, match=r"another fit of this process writes to .*outer: choose another"):
            run(tmp_path / "outer", resume=True)

    run(tmp_path / "outer", callbacks=[inner])
    assert len(load(tmp_path / "outer").history) == 2
    with held(tmp_path / "outer") as process:  # the refused one has not taken the lock with it
        assert process.stdout.readline() == b"held\n"


def test_folders_made_for_nothing_are_removed_and_others_stay(tmp_path):
    (tmp_path / "there").mkdir()
    with locked(tmp_path / "a" / "b" / "c"):
        pass
    with locked(tmp_path / "there"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "x").touch()
    assert {path.name for path in tmp_path.rglob("*")} == {"there", "a", "x"}


def test_a_lock_file_alone_is_no_run(tmp_path):
    (tmp_path / ".lock").write_text("1\n")
    assert not RunDirectory(tmp_path).used
    run(tmp_path)


@pytest.mark.parametrize(
    "name", [".config.json.77", ".weights.safetensors.1234567", ".resume.safetensors.3", ".history.jsonl.12"]
)
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, name):
    (tmp_path / name).write_bytes(b"half")
    others = [".config.json", ".config.json.old", "weights.safetensors.5", "notes"]
    for other in others:
        (tmp_path / other).write_bytes(b"mine")
    run(tmp_path)
    assert not (tmp_path / name).exists()
    assert all((tmp_path / other).exists() for other in others)
    (tmp_path / name).write_bytes(b"half")
    run(tmp_path, resume=True)
    assert not (tmp_path / name).exists()


def test_two_fits_that_start_together_leave_one_whole_run(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {ROOT!r})
from tests.inference.persistence.test_folder_lock import run
print("ready", flush=True)
sys.stdin.readline()
run({str(tmp_path / "run")!r}, int(sys.argv[1]))
"""
    with (
        running([sys.executable, "-c", code, "2"], stdin=subprocess.PIPE, text=True) as one,
        running([sys.executable, "-c", code, "3"], stdin=subprocess.PIPE, text=True) as other,
    ):
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("\n")
            process.stdin.flush()
        errors = [process.communicate()[1] for process in (one, other)]
    statuses = [one.returncode, other.returncode]
    assert sorted(statuses) == [0, 1], errors
    assert len(load(tmp_path / "run").history) == 2 + statuses.index(0)
