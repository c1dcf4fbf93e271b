"""How results are recorded: rows with their machine and versions, in a JSON file with a table beside it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyrogen.inference.persistence.config import versions

__all__ = ["RESULTS", "environment", "read", "record", "table"]

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def environment(device: torch.device) -> Row:
    """The machine in words, without names or paths, what computed, and when."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {_cpu()}",
        "threads": torch.get_num_threads(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gib": _memory(), "system": platform.system()},
        "versions": {**versions(), "pyrogen": _pyrogen()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def read(name: str) -> list[Row]:
    """The rows of `results/<name>.json`, none if there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def record(name: str, row: Row, key: Sequence[str], render: Callable[[list[Row]], str] | None = None) -> None:
    """Add a row to `results/<name>.json`, in place of one that agrees on `key`; `render` writes `<name>.md` anew."""
    rows = [old for old in read(name) if any(old.get(k) != row.get(k) for k in key)] + [row]
    rows.sort(key=lambda r: [r[k] for k in key])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if render is not None:
        (RESULTS / f"{name}.md").write_text(render(rows), encoding="utf-8")


def table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    """A Markdown table: a heading and how a row fills it, for each column."""
    lines = [list(columns), ["---"] * len(columns), *([fill(row) for fill in columns.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _pyrogen() -> str:
    """The installed version, or that of the source tree which runs without being installed."""
    told = versions()["pyrogen"]
    project = RESULTS.parents[1] / "pyproject.toml"
    if told != "not installed" or not project.is_file():
        return told
    return f"{tomllib.loads(project.read_text(encoding='utf-8'))['project']['version']}, source tree"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
