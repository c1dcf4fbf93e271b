"""Names of the first layout, before modules moved into rooms: none can be imported any more."""

import importlib
import importlib.util
from pathlib import Path

import pytest

FORMER = Path(__file__).with_name("former_names.txt").read_text(encoding="utf-8").split()


def exists(name: str) -> bool:
    """Whether a qualified name is a module, or an attribute of one."""
    owner, _, last = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(owner), last) or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", FORMER)
def test_a_former_name_is_gone(name: str) -> None:
    assert not exists(name)


def test_a_name_that_exists_is_found() -> None:
    assert exists("pyrogen.inference.fit")
    assert exists("pyrogen.inference.training.loop.Loop")
    assert exists("pyrogen.inference.training.loop")
    assert len(FORMER) > 150
