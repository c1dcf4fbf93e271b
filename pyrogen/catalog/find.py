"""Stories by name: the catalog's own, and those in a user's files."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pyrogen.catalog.entry import Entry
from pyrogen.catalog.stories import (
    adversarial,
    autoencoders,
    autoregressive,
    conditional,
    diffusion,
    flows,
    linear,
    mixtures,
    sequences,
)
from pyrogen.messages import UsageError, as_path, did_you_mean
from pyrogen.story import Story

_GROUPS = (linear, mixtures, autoencoders, flows, diffusion, autoregressive, sequences, conditional, adversarial)

CATALOG: dict[str, Entry] = {entry.name: entry for group in _GROUPS for entry in group.ENTRIES}
"""Every built-in story by name."""


def find(name: str) -> Entry:
    """The entry of a story.

    Args:
        name: its name in the catalog, or `path/to/file.py:Class` for a user's own story.

    Returns:
        The entry.

    Raises:
        UsageError: the catalog has no such story.
    """
    if ".py:" in name or name.endswith(".py"):
        return _from_file(name)
    if name not in CATALOG:
        hint = did_you_mean(name, CATALOG)
        raise UsageError(
            f"no story is called '{name}'{hint} (have: {', '.join(CATALOG)}; your own: path/to/file.py:Class)"
        )
    return CATALOG[name]


def _from_file(name: str) -> Entry:
    file, _, attribute = name.rpartition(":") if ".py:" in name else (name, "", "")
    path = as_path(file, "the story file")
    if not path.is_file():
        raise FileNotFoundError(f"story file '{file}' does not exist")
    module = _import(path)
    stories = [name for name, value in vars(module).items() if _is_story(value) and value.__module__ == module.__name__]
    cls: Any = getattr(module, attribute, None)
    if not _is_story(cls):
        problem = f"has no Story called '{attribute}'" if attribute else "needs the story's class after a colon"
        raise UsageError(f"'{file}' {problem}: write {file}:Class (stories in it: {', '.join(stories) or 'none'})")
    return Entry(attribute, (inspect.getdoc(cls) or "").split("\n")[0], cls)


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look there for the module they are in
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ValueError) as error:
        if "null bytes" in str(error):
            raise ValueError(f"story file '{path}' is no text: it has null bytes") from error
        raise
    finally:
        sys.path.pop(0)
    return module


def _is_story(candidate: Any) -> bool:
    return inspect.isclass(candidate) and issubclass(candidate, Story) and candidate is not Story
