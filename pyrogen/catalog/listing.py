"""What `pyrogen list` prints, written anew by `python -m pyrogen.catalog.listing` when catalog or data change."""

from __future__ import annotations

from pathlib import Path

from pyrogen.annotations import describe as describe_type
from pyrogen.catalog.find import CATALOG
from pyrogen.catalog.settings import format_value
from pyrogen.data import describe as describe_data


def listing() -> str:
    """The stories with their settings, and the data sets.

    Returns:
        The text.
    """
    lines = ["stories, for `pyrogen train NAME`; your own is path/to/file.py:Class"]
    for entry in CATALOG.values():
        lines.append(f"  {entry.name:<18}  {entry.summary}")
        for setting in entry.settings.values():
            option = f"--set {setting.name}={'...' if setting.required else format_value(setting.default)}"
            conditions = ", or ".join(map(str, setting.conditions))
            lines.append(
                f"    {option:<30}  {describe_type(setting.hint)}{'; with ' if conditions else ''}{conditions}"
            )
    lines.append("data, for `--data DATA`")
    lines += [f"  {name:<18}  {summary}" for name, summary in describe_data()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("listing.txt").write_text(listing(), encoding="utf-8")
