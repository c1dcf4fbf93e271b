"""`pyrogen list`."""

from __future__ import annotations

import inspect
import json
from typing import Any

from pyrogen.catalog import CATALOG
from pyrogen.data import describe

__all__ = ["list_all"]


def list_all() -> None:
    """Say what can be trained, and on what."""
    print("stories, for `pyrogen train NAME`; your own is path/to/file.py:Class")
    for entry in CATALOG.values():
        print(f"  {entry.name:<16}  {entry.summary}")
        if entry.settings:
            print(f"  {'':<16}  {' '.join(f'--set {_setting(*pair)}' for pair in entry.settings.items())}")
        for name, choices in entry.choices.items():
            print(f"  {'':<16}  {name}: {', '.join(choices)}")
    print("data, for `--data DATA`")
    for name, summary in describe():
        print(f"  {name:<16}  {summary}")


def _setting(name: str, default: Any) -> str:
    if default is inspect.Parameter.empty:
        return f"{name}=..."
    value = default if isinstance(default, str) else json.dumps(default, separators=(",", ":"), default=str)
    return f"{name}={value}"
