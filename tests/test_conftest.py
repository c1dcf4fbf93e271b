"""The tests' world can fail: each breach of it is tried in a test run of its own process."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.processes import running
from tests.helpers.statistics import assert_within

pytest_plugins = ["pytester"]

BREACHES = {
    "dtype": ("torch.set_default_dtype(torch.float64)", "default dtype"),
    "device": ("torch.set_default_device('meta')", "default device"),
    "device_context": ("torch.device('cpu').__enter__()", "open contexts"),
    "gradients": ("torch.set_grad_enabled(False)", "gradients enabled"),
    "threads": ("torch.set_num_threads(1)", "number of threads"),
    "deterministic": ("torch.use_deterministic_algorithms(True)", "deterministic algorithms"),
    "pyro_validation": ("pyro.enable_validation(False)", "pyro.settings validate_infer"),
    "torch_validation": ("torch.distributions.Distribution.set_default_validate_args(False)", "validate_distributions"),
    "handler": ("pyro.poutine.trace().__enter__()", "open handlers of Pyro"),
    "store": ("pyro.param('left_behind', torch.ones(()))", "Pyro's parameter store holds left_behind"),
}


@pytest.fixture
def world(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> pytest.Pytester:
    """An empty project with this conftest, which waits less, and these markers."""
    conftest = Path(__file__).with_name("conftest.py").read_text()
    assert "SECONDS_TO_END = 5.0" in conftest
    pytester.makeconftest(conftest.replace("SECONDS_TO_END = 5.0", "SECONDS_TO_END = 0.2"))
    markers = "\n".join(f"    {line}" for line in request.config.getini("markers"))
    pytester.makeini(f"[pytest]\npythonpath = {Path(__file__).parents[1]}\nmarkers =\n{markers}\n")
    return pytester


def test_each_breach_fails_its_test_and_is_undone_before_the_next(world: pytest.Pytester) -> None:
    tests = [
        f"def test_{name}():\n    {breach}\ndef test_after_{name}():\n    pass\n"
        for name, (breach, _) in BREACHES.items()
    ]
    world.makepyfile("import pyro, torch\n" + "".join(tests))
    result = world.runpytest_subprocess()
    result.assert_outcomes(passed=2 * len(BREACHES), errors=len(BREACHES))
    for _, message in BREACHES.values():
        result.stdout.fnmatch_lines_random(f"*left the world changed*{message}*")


LEFTOVERS = {
    "process": ("subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])", "the process *sleep(600)*"),
    "thread": (
        "threading.Thread(target=time.sleep, args=(600,), daemon=True, name='idle').start()",
        "the thread idle*",
    ),
    "file": ("pathlib.Path('left.txt').write_text('')", "the file *left.txt*"),
}


ENDED = """
def test_ended():
    assert leftovers.children() == {}

def test_what_ends_in_time_and_caches_are_no_leftovers():
    subprocess.Popen([sys.executable, "-c", "pass"]).wait()
    threading.Thread(target=time.sleep, args=(0.05,)).start()
    pathlib.Path(".mypy_cache").mkdir()
    pathlib.Path("scratch").write_text("")
    pathlib.Path("scratch").unlink()
"""


def test_each_leftover_fails_its_test_and_processes_are_ended(world: pytest.Pytester) -> None:
    tests = [
        f"def test_{name}():\n    {leave}\ndef test_after_{name}():\n    pass\n"
        for name, (leave, _) in LEFTOVERS.items()
    ]
    imports = "import pathlib, subprocess, sys, threading, time\nfrom tests.helpers import leftovers\n"
    world.makepyfile(imports + "".join(tests) + ENDED)
    result = world.runpytest_subprocess()
    result.assert_outcomes(passed=2 * len(LEFTOVERS) + 2, errors=len(LEFTOVERS))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for _, line in LEFTOVERS.values():
        result.stdout.fnmatch_lines_random(f"*This test, or a fixture of it, left {line}")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_orphans_deep_files_and_leftovers_of_fixtures_fail_the_session(world: pytest.Pytester) -> None:
    subprocess.run(["git", "init", "-q", world.path], check=True)
    world.mkdir("deep")
    world.makepyfile(
        """
        import pathlib, subprocess, pytest

        @pytest.fixture(scope="module")
        def fitted():
            pathlib.Path("wide.txt").write_text("")

        def test_wide(fitted):
            pass

        def test_deep():
            pathlib.Path("deep", "left.npz").write_text("")

        def test_orphan():
            subprocess.run(["sh", "-c", "sleep 601 > /dev/null 2>&1 &"])
        """
    )
    result = world.runpytest_subprocess()
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for line in ("the process sleep 601", "the file *wide.txt", "the file *left.npz"):
        result.stdout.fnmatch_lines_random(f"These tests left {line}")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_process_takes_an_interrupt_where_the_suite_ignores_it_and_ends_with_its_block() -> None:
    command = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with running(command, text=True) as interrupted, running(command, text=True) as forgotten:
            assert [interrupted.stdout.readline(), forgotten.stdout.readline()] == ["ready\n"] * 2
            interrupted.send_signal(signal.SIGINT)
            _, error = interrupted.communicate(timeout=60)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
    assert "KeyboardInterrupt" in error
    assert forgotten.returncode == -signal.SIGKILL


def test_the_store_the_seed_and_fixtures_of_wider_scope(world: pytest.Pytester) -> None:
    world.makepyfile(
        """
        import pyro, pytest, torch

        drawn = set()

        @pytest.mark.free_store
        def test_free(seed):
            pyro.param("a", torch.ones(()))
            drawn.add(torch.rand(()).item())
            assert seed == 7

        def test_next():
            drawn.add(torch.rand(()).item())
            assert len(drawn) == 1
            assert not list(pyro.get_param_store().keys())

        @pytest.fixture(scope="module")
        def fitted():
            pyro.param("left_behind", torch.ones(()))

        def test_wider_scope(fitted):
            pass
        """
    )
    result = world.runpytest_subprocess("--seed", "7")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines("*fixture of wider scope*left_behind*")


@pytest.mark.parametrize("required", [False, True])
def test_missing_data_skips_or_fails(world: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: bool) -> None:
    monkeypatch.setenv("PYROGEN_DATA", str(world.path))
    monkeypatch.setenv("PYROGEN_REQUIRE_DATA", str(int(required)))
    world.makepyfile(
        test_fixture="def test_data(data_root):\n    pass\n",
        test_module="import pytest\npytest.skip('PYROGEN_DATA lacks it', allow_module_level=True)\n",
        test_other="import pytest\ndef test_other():\n    pytest.skip('for another reason')\n",
    )
    result = world.runpytest_subprocess("--continue-on-collection-errors")
    result.assert_outcomes(skipped=1, errors=2) if required else result.assert_outcomes(skipped=3)


def test_data_root_is_the_folder_that_holds_mnist(data_root: Path) -> None:
    assert (data_root / "MNIST" / "raw").is_dir()


def test_assert_within_lets_through_what_is_near() -> None:
    assert_within(1.04, 1.0, 0.01)
    assert_within(torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0], torch.zeros(2))


@pytest.mark.parametrize(
    ("estimate", "error", "message"),
    [
        (1.05, 0.01, r"^energy is 1\.05, exactly 1: 0\.05 apart, which is 5\.00 standard errors"),
        ([1.0, 1.05, 1.06], 0.01, r"energy\[2\] is 1\.06, exactly 1.*\(2 of 3 outside\)"),
        (1.05, 0.0, "inf standard errors"),
        (float("nan"), 0.01, "energy is nan"),
        (1.0, float("inf"), "energy is 1"),
        (1.0, float("nan"), "energy is 1"),
    ],
    ids=["far", "worst_of_several", "no_error", "nan", "infinite_error", "nan_error"],
)
def test_assert_within_stops_what_is_not(estimate: object, error: float, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_within(estimate, 1.0, error, what="energy")
