"""The examples in docstrings run, in the tests' strict world."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import pyrogen

MODULES = sorted(m.name for m in pkgutil.walk_packages(pyrogen.__path__, "pyrogen.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
