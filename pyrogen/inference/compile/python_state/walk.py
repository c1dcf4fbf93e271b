"""The Python state that a program may read: numbers, strings, flags, tensors and arrays outside its arguments.

A graph holds the values that these had when it was recorded. They are found by a walk from the program through
closures, globals, attributes and containers; of the user's objects, through the attributes whose names the reachable
code mentions.
"""

from __future__ import annotations

import functools
import itertools
import operator
import random
import sys
import types
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pyro.infer.elbo import ELBO
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrogen.inference.compile.python_state.watched_values import IMMUTABLE, MISSING, Contents, Place, Values
from pyrogen.inference.compile.tracing import CannotTrace

MAX_WATCHED = 20_000
"""Containers that are watched at most."""

_LIBRARIES = {"torch", "pyro", "pyroapi", "numpy", "scipy", "pyrogen", "opt_einsum", "zuko"}
_DYNAMIC = {"getattr", "attrgetter", "vars", "__dict__", "__getattribute__"}
"""Names in code that may read an attribute by a name that it computes: then all attributes are followed."""
_OF_EVERY_CLASS = {"__dict__", "__doc__", "__module__", "__weakref__", "__qualname__", "__init__", "__slots__"}
_BOOKKEEPING = {"training_spec"}
"""Attributes that `fit` itself writes to a story."""
_MODULE_DICTS = ("_modules", "_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks", "_pyro_params")


class PythonState:
    """What a program may read from Python, as it is now.

    Args:
        roots: functions and objects from which the program is reached.
        ignored: identities of places that are not watched; none by default.

    Raises:
        CannotTrace: there is more than can be watched, or an iterator.
    """

    def __init__(self, roots: Iterable[Any], ignored: Collection[tuple[int, Any]] = ()) -> None:
        given, names = list(roots), set[str]()
        while True:  # code that is reached mentions names by which more is reached
            walk = _Walk(names, ignored)
            for root in given:
                walk.visit(root, _name_of(root))
            if walk.names == names:
                break
            names = set(walk.names)
        self._watched, self._kept = walk.watched, walk.kept
        in_dicts = [each for each in walk.watched if isinstance(each, Values) and isinstance(each.container, dict)]
        self._others = [each for each in walk.watched if not isinstance(getattr(each, "container", None), dict)]
        self._counted = [each.container for each in in_dicts if each.counted]
        self._dicts = [each.container for each in in_dicts for _ in each.keys]
        self._keys = [key for each in in_dicts for key in each.keys]
        self._in_dicts = in_dicts
        self._look()

    def changes(self) -> list[Place]:
        """What has changed since the last look, which takes some microseconds where nothing has.

        Returns:
            The places.
        """
        now = map(dict.get, self._dicts, self._keys, itertools.repeat(MISSING))
        same = all(map(operator.is_, now, self._known)) and list(map(len, self._counted)) == self._lengths
        changed = [each for each in self._others if not each.is_same()]
        if same and not changed:
            return []
        places = [place for each in (*changed, *self._in_dicts) for place in each.changes()]
        self._look()
        return places

    @contextmanager
    def restored(self) -> Iterator[None]:
        """On leaving, everything is what it was on entering, whatever the program has changed.

        Yields:
            None.
        """
        restorers = [each.restorer() for each in self._watched]
        try:
            yield
        finally:
            for restore in restorers:
                restore()

    def find(self, names: Collection[str]) -> list[Place]:
        """Watched places.

        Args:
            names: as the places of `changes` have them.

        Returns:
            The places with one of these names.
        """
        places = [place for each in self._watched if isinstance(each, Values) for place in each.places()]
        return [place for place in places if place.name in names]

    def _look(self) -> None:
        """Note the values in dicts, nearly all of what is watched, in one list."""
        self._known = [value for each in self._in_dicts for value in each.values]
        self._lengths = list(map(len, self._counted))


def is_library(value: Any) -> bool:
    """Whether a module, class, function or object is of torch, Pyro, pyrogen or, if it is no object, of Python.

    Args:
        value: the object.

    Returns:
        True if it is: its code reads nothing that a user changes, but its own attributes.
    """
    if isinstance(value, types.ModuleType):
        module = value.__name__
    else:
        module = getattr(value if isinstance(value, type | types.FunctionType) else type(value), "__module__", "")
    package = str(module).partition(".")[0]
    is_code = isinstance(value, types.ModuleType | type | types.FunctionType)
    return package in _LIBRARIES or (is_code and package in sys.stdlib_module_names)


def _name_of(value: Any) -> str:
    return str(getattr(value, "__qualname__", type(value).__qualname__)).replace("<locals>.", "")


class _Walk:
    """One walk from the program, through attributes with given names."""

    def __init__(self, names: set[str], ignored: Collection[tuple[int, Any]]) -> None:
        self._followed, self.names, self._ignored = names, set(names), ignored
        self.watched: list[Values | Contents] = []
        self.kept: dict[int, Any] = {}  # by id, which stays theirs while they are kept

    def visit(self, value: Any, name: str) -> None:
        """Watch what is reached from a value."""
        pending = [(value, name)]
        while pending:
            value, name = pending.pop()
            if isinstance(value, (*IMMUTABLE, Tensor)) or value is MISSING or id(value) in self.kept:
                continue
            self.kept[id(value)] = value
            pending += self._parts(value, name)
            if len(self.watched) > MAX_WATCHED:
                raise CannotTrace(f"it can read more than {MAX_WATCHED:,} Python objects, too many to watch")

    def _parts(self, value: Any, name: str) -> Iterable[tuple[Any, str]]:
        """Watch a value's contents, and return those to visit."""
        match value:
            case types.MethodType():
                return [(value.__func__, _name_of(value)), (value.__self__, _name_of(value.__self__))]
            case functools.partial():
                return [(value.func, _name_of(value.func)), (value.args, name), (value.keywords, name)]
            case types.FunctionType():
                return self._function(value)
            case property():
                return [(value.fget, name)]
            case staticmethod() | classmethod():
                return [(value.__func__, name)]
            case types.ModuleType():
                return [] if is_library(value) else self._module(value)
            case type():
                return [] if is_library(value) else self._class(value)
            case dict():
                return self._values(value, list(value), name)
            case list() | tuple() | deque():
                return self._values(value, range(len(value)), name)
            case set():
                self.watched.append(Contents(value, name, value.copy, lambda copy: _refill(value, copy)))
            case np.ndarray():
                self.watched.append(Contents(value, name, value.copy, lambda copy: np.copyto(value, copy)))
            case np.random.Generator():
                bits: Any = value.bit_generator
                self.watched.append(
                    Contents(value, name, lambda: bits.state, lambda copy: setattr(bits, "state", copy))
                )
            case random.Random():
                self.watched.append(Contents(value, name, value.getstate, value.setstate))
            case Iterator():
                raise CannotTrace(f"it can read from an iterator ('{name}'), which each step would continue")
            case _:
                return self._object(value, _name_of(value))
        return []

    def _function(self, function: types.FunctionType) -> list[tuple[Any, str]]:
        """Closure, globals and defaults of a function of the user's, and the names that its code mentions."""
        wrapped = getattr(function, "__wrapped__", None)
        parts = [] if wrapped is None else [(wrapped, _name_of(wrapped))]
        if is_library(function) and wrapped is None and not function.__closure__:
            return []
        if not is_library(function):
            code_names = set(_names_in(function.__code__))
            self.names |= code_names
            read = [key for key in function.__globals__ if key in code_names]
            parts += self._values(function.__globals__, read, "global", counted=False)
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            parts += self._values(cell, ["cell_contents"], f"variable '{variable}'")
        defaults = (function.__defaults__, function.__kwdefaults__)
        return [*parts, *((value, _name_of(function)) for value in defaults if value)]

    def _module(self, module: types.ModuleType) -> list[tuple[Any, str]]:
        """Attributes of a module of the user's that code mentions."""
        keys = [key for key in vars(module) if key in self._followed]
        return self._values(vars(module), keys, module.__name__, counted=False)

    def _class(self, owner: type) -> list[tuple[Any, str]]:
        """Attributes of a class and its bases that code mentions."""
        bases = [base for base in owner.__mro__ if not is_library(base)]
        return [part for base in bases for part in self._named(base, base.__qualname__)]

    def _object(self, value: Any, name: str) -> list[tuple[Any, str]]:
        """Attributes of an object: of the user's those that code mentions, of a library's plain values and modules."""
        attributes = getattr(value, "__dict__", {})
        parts: list[tuple[Any, str]] = []
        if isinstance(value, nn.Module):
            parts += [(type(value), type(value).__qualname__)]
            dicts = [attributes[key] for key in _MODULE_DICTS if key in attributes]
            parts += [part for each in dicts for part in self._values(each, list(each), name)]
            parts += self._values(attributes, ["training"], name)
        if not is_library(value):
            declared = [slot for base in type(value).__mro__ for slot in getattr(base, "__slots__", ())]
            slots = [slot for slot in declared if self._follows(slot, of_class=False)]
            parts += self._values(value, slots, name) if slots else []
            return [*parts, *self._named(attributes, name), (type(value), type(value).__qualname__)]
        # A story's components are pyrogen's, and their attributes the user's choice.
        whole = isinstance(value, nn.Module | Distribution | ELBO) or type(value).__module__.startswith("pyrogen.")
        keys = [key for key, entry in attributes.items() if whole and _is_setting(key, entry)]
        return [*parts, *(self._values(attributes, keys, name, counted=False) if keys else [])]

    def _named(self, container: Any, name: str) -> list[tuple[Any, str]]:
        """The values of a namespace whose names code mentions."""
        of_class = isinstance(container, type)
        entries = container.__dict__ if of_class else container
        keys = [key for key in entries if self._follows(key, of_class)]
        return self._values(container, keys, name, counted=not of_class)

    def _follows(self, key: Any, of_class: bool) -> bool:
        """Whether code may read an attribute: by name, by a name that it computes, or as an operator's method."""
        if key in _BOOKKEEPING:
            return False
        if of_class:
            return key in self._followed or (key.startswith("__") and key not in _OF_EVERY_CLASS)
        return key in self._followed or not self._followed.isdisjoint(_DYNAMIC)

    def _values(self, container: Any, keys: Iterable[Any], name: str, counted: bool = True) -> list[tuple[Any, str]]:
        watched = [key for key in keys if (id(container), key) not in self._ignored]
        values = Values(container, watched, name, counted)
        self.watched.append(values)
        found = zip(values.keys, values.values, strict=True)
        return [(value, f"{name}.{key}" if isinstance(key, str) else name) for key, value in found]


def _refill(target: set[Any], copy: set[Any]) -> None:
    target.clear()
    target.update(copy)


def _is_setting(name: str, value: Any) -> bool:
    """Whether an attribute of a library's object is a setting, and nothing that it keeps of its own runs."""
    if isinstance(value, IMMUTABLE):
        return True
    kept = isinstance(value, type | dict | set) or name.startswith("_") or name in _BOOKKEEPING
    parts = (Tensor, nn.Module, Distribution, tuple, list, np.ndarray)
    return not kept and (
        isinstance(value, parts) or type(value).__module__.startswith("pyrogen.") or not is_library(value)
    )


def _names_in(code: types.CodeType) -> Iterator[str]:
    """Names of globals and attributes that a function's code mentions, and its strings, as `getattr` takes them."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            yield constant
