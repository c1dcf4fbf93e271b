"""What a test may leave behind: child processes, threads, files. Each is compared before and after."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["MARK", "children", "end", "files", "new", "orphans", "threads", "untracked"]

WORKERS = {
    "torch/_inductor/compile_worker": "inductor keeps its compilers for the next graph",
    "multiprocessing.resource_tracker": "Python keeps one for each process that has shared memory",
}
"""Processes that libraries keep until this one ends, by a part of their command line, and why."""

THREADS = {
    "tqdm._monitor": "tqdm, by which torch and Pyro show progress, keeps one for all of its bars",
    "torch._inductor": "inductor reads from its compilers as long as they live",
    "concurrent.futures.thread": "inductor's executors keep their idle threads",
}
"""Threads that libraries keep until the process ends, by the module of their function, and why."""

CACHES = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".coverage"}
SOURCE = {".py", ".md", ".toml"}
"""Files that someone may write while the tests run."""

MARK = "PYROGEN_TESTS"
"""Environment variable by which the processes of this session are known."""


def children(pid: int | str = "self") -> dict[int, str]:
    """Command lines of the living descendants of a process, by their ids; none where the system has no /proc."""
    alive: dict[int, str] = {}
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in read(listing).split():
            command = command_line(child)
            alive |= {int(child): command, **children(child)} if command else {}
    return alive


def orphans() -> dict[int, str]:
    """Command lines of the living processes that this session started, whoever their parent is now, by their ids."""
    mark = f"\0{MARK}={os.environ.get(MARK)}\0"
    started = [path.name for path in Path("/proc").glob("[0-9]*") if mark in f"\0{read(path / 'environ')}\0"]
    return {int(pid): command for pid in started if int(pid) != os.getpid() and (command := command_line(pid))}


def command_line(pid: int | str) -> str:
    """The command of a process; empty where it has ended, or is one that libraries keep."""
    command = read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()
    return "" if any(worker in command for worker in WORKERS) else command


def threads() -> dict[threading.Thread, str]:
    """Names of the living threads, but for those that libraries keep or native code brought in."""
    return {
        thread: f"{thread.name} of {module_of(thread)}"
        for thread in threading.enumerate()
        if not isinstance(thread, threading._DummyThread) and not module_of(thread).startswith(tuple(THREADS))
    }


def module_of(thread: threading.Thread) -> str:
    """The module of a thread's function, or of its class where that defines `run`."""
    target = getattr(thread, "_target", None)
    return str(getattr(target, "__module__", None) or type(thread).__module__)


def files(*folders: Path) -> dict[str, str]:
    """What lies directly in these folders, but for caches."""
    entries = [entry for folder in folders for entry in folder.iterdir() if entry.name not in CACHES]
    return {str(entry): str(entry) for entry in entries}


def untracked(root: Path) -> dict[str, str]:
    """Files in a repository, at any depth, that git neither has nor ignores, but for what someone may be writing."""
    command = ["git", "ls-files", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return {}
    return {name: name for name in listed if Path(name).suffix not in SOURCE}


def new(before: dict, now: Callable[[], dict], seconds: float) -> dict:
    """What was not there before and is still there after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        left = {key: value for key, value in now().items() if key not in before}
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.02)


def end(processes: Iterable[int]) -> None:
    """Kill processes that tests left."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def read(path: Path) -> str:
    """A file of /proc; empty where the process is gone or another user's."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
