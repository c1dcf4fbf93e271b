"""`pyrogen list`."""

from __future__ import annotations

from pyrogen.catalog import CATALOG
from pyrogen.catalog.annotations import describe as describe_type
from pyrogen.catalog.settings import format_value
from pyrogen.data import describe as describe_data


def list_all() -> None:
    """List the stories with their settings, and the data sets."""
    print("stories, for `pyrogen train NAME`; your own is path/to/file.py:Class")
    for entry in CATALOG.values():
        print(f"  {entry.name:<18}  {entry.summary}")
        for setting in entry.settings.values():
            option = f"--set {setting.name}={'...' if setting.required else format_value(setting.default)}"
            conditions = ", or ".join(map(str, setting.conditions))
            print(f"    {option:<30}  {describe_type(setting.hint)}{'; with ' if conditions else ''}{conditions}")
    print("data, for `--data DATA`")
    for name, summary in describe_data():
        print(f"  {name:<18}  {summary}")
