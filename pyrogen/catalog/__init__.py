"""The catalog: every story by name with its defaults. The table behind `train`, `list`, `load` and the exam."""

from pyrogen.catalog.entry import Entry
from pyrogen.catalog.find import CATALOG, find
from pyrogen.catalog.run_loading import load, rebuild, rebuild_as

__all__ = ["CATALOG", "Entry", "find", "load", "rebuild", "rebuild_as"]
