"""The world of the tests, stricter than the user's.

Warnings are errors (pyproject.toml) and Pyro validates. A test must leave the global settings of PyTorch and Pyro
as it found them, and Pyro's parameter store empty: pyrogen promises as much. It leaves no process, no thread and, in
the repository and the working folder, no file. All tests start from one seed, which `--seed` changes.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pyro
import pytest
import torch
from hypothesis.configuration import set_hypothesis_home_dir
from pyro.poutine import runtime
from torch.overrides import _get_current_function_mode_stack, _pop_mode

from tests.helpers import leftovers

THREADS = 2  # sums depend on their number in the last digit
DATA_REQUIRED = os.environ.get("PYROGEN_REQUIRE_DATA") == "1"
WORLD: dict[str, Any] = {}
ADDED, UNTRACKED = pytest.StashKey[Callable[[], list[str]]](), pytest.StashKey[dict[str, str]]()
LEFT = pytest.StashKey[list[str]]()
SECONDS_TO_END = 5.0  # of a process or a thread
os.environ["MPLBACKEND"] = "Agg"
os.environ[leftovers.MARK] = str(os.getpid())
logging.getLogger("torch.__trace").propagate = False  # thousands of empty records for each compiled graph


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="seed of every test (default: 0)")


def pytest_configure() -> None:
    hypothesis.settings.register_profile("pyrogen", database=None, deadline=None, derandomize=True)
    hypothesis.settings.load_profile("pyrogen")
    set_hypothesis_home_dir(Path(tempfile.gettempdir(), "hypothesis"))  # not in the project
    torch.set_num_threads(THREADS)
    pyro.enable_validation(True)
    WORLD.update(_settings())


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('seed')}, data: {os.environ.get('PYROGEN_DATA', 'PYROGEN_DATA is not set')}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs CUDA"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_data_is_missing(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_data_is_missing(report)
    return report


def _fail_if_data_is_missing(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Under PYROGEN_REQUIRE_DATA=1 a skip whose reason speaks of PYROGEN_DATA is a failure."""
    if DATA_REQUIRED and report.skipped and isinstance(report.longrepr, tuple) and "PYROGEN_DATA" in report.longrepr[2]:
        report.outcome = "failed"
        report.longrepr = f"PYROGEN_REQUIRE_DATA=1 allows no such skip. {report.longrepr[2]}"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run."""
    return int(pytestconfig.getoption("seed"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that PYROGEN_DATA names, which holds MNIST; skips the test where it does not."""
    root = os.environ.get("PYROGEN_DATA", "")
    if not root or not Path(root, "MNIST", "raw").is_dir():
        pytest.skip(f"PYROGEN_DATA names no folder that holds MNIST (it is {root!r})")
    return Path(root).resolve()


@pytest.fixture(autouse=True)
def _strict_world(request: pytest.FixtureRequest, seed: int) -> Iterator[None]:
    """Fails a test that changed a global setting or left parameters in Pyro's store, and tidies up after it."""
    free = request.node.get_closest_marker("free_store") is not None
    problems = _tidy(free)
    if problems:
        pytest.fail("Before this test, by a fixture of wider scope or an import: " + "; ".join(problems), pytrace=False)
    pyro.set_rng_seed(seed)
    yield
    problems = _tidy(free)
    if problems:
        pytest.fail("This test, or a fixture of it, left the world changed: " + "; ".join(problems), pytrace=False)


@pytest.fixture(autouse=True)
def _nothing_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fails a test that leaves a process, a thread, or a file in the repository or the working folder."""
    added = _watch(pytestconfig)
    yield
    if problems := added():
        pytest.fail("This test, or a fixture of it, left " + "; ".join(problems), pytrace=False)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[ADDED] = _watch(session.config)
    session.config.stash[UNTRACKED] = leftovers.untracked(session.config.rootpath)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a session of which fixtures of wider scope, orphans, or files deep in the repository are left."""
    root, stash = session.config.rootpath, session.config.stash
    orphans = leftovers.new({}, leftovers.orphans, SECONDS_TO_END)
    leftovers.end(orphans)
    untracked = leftovers.new(stash[UNTRACKED], lambda: leftovers.untracked(root), 0.0)
    problems = [*(f"the process {command}" for command in orphans.values()), *stash[ADDED]()]
    stash[LEFT] = list(dict.fromkeys([*problems, *(f"the file {root / name}" for name in untracked)]))
    if stash[LEFT]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for problem in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"These tests left {problem}", red=True)


def _watch(config: pytest.Config) -> Callable[[], list[str]]:
    """Notes what there is; called, gives what was added since, and ends added processes."""
    folders = {config.rootpath, Path.cwd()}
    processes, threads, files = leftovers.children(), leftovers.threads(), leftovers.files(*folders)

    def added() -> list[str]:
        left = leftovers.new(processes, leftovers.children, SECONDS_TO_END)
        leftovers.end(left)
        return [
            *(f"the process {command}" for command in left.values()),
            *(f"the thread {name}" for name in leftovers.new(threads, leftovers.threads, SECONDS_TO_END).values()),
            *(f"the file {name}" for name in leftovers.new(files, lambda: leftovers.files(*folders), 0.0)),
        ]

    return added


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "open contexts such as torch.device": len(_get_current_function_mode_stack()),
        "gradients enabled": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic algorithms only warn": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "precision of float32 products": torch.get_float32_matmul_precision(),
        "open handlers of Pyro": len(runtime._PYRO_STACK),
        **{f"pyro.settings {name}": value for name, value in pyro.settings.get().items()},
    }


def _tidy(free_store: bool) -> list[str]:
    """Put the world back, and say what had changed."""
    problems = [f"{name} is {now}, was {WORLD[name]}" for name, now in _settings().items() if now != WORLD[name]]
    if problems:
        _restore()
    store = pyro.get_param_store()
    if names := sorted(store.keys()):
        store.clear()
        if not free_store:
            problems.append(f"Pyro's parameter store holds {', '.join(names)} (allowed by the mark free_store)")
    return problems


def _restore() -> None:
    torch.set_default_device(None)
    while len(_get_current_function_mode_stack()) > WORLD["open contexts such as torch.device"]:
        _pop_mode()
    torch.set_default_dtype(WORLD["default dtype"])
    torch.set_grad_enabled(WORLD["gradients enabled"])
    torch.set_num_threads(WORLD["number of threads"])
    torch.use_deterministic_algorithms(
        WORLD["deterministic algorithms"], warn_only=WORLD["deterministic algorithms only warn"]
    )
    torch.backends.cudnn.benchmark = WORLD["cudnn.benchmark"]
    torch.set_float32_matmul_precision(WORLD["precision of float32 products"])
    del runtime._PYRO_STACK[WORLD["open handlers of Pyro"] :]
    pyro.settings.set(**{name: WORLD[f"pyro.settings {name}"] for name in pyro.settings.get()})


@pytest.fixture
def default_signals():
    """SIGTERM and SIGHUP as a terminal has them: nohup has set the latter to be ignored."""
    former = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)
