"""Values in Python's containers that are looked at before each step: the same objects as before, or changed ones."""

from __future__ import annotations

import operator
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

IMMUTABLE = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, frozenset),
    *(torch.dtype, torch.device, torch.layout, np.generic),
)
MISSING = object()
"""In place of a value that is not there."""


@dataclass(frozen=True)
class Place:
    """Where a value is found.

    Args:
        container: a dict, list, closure's cell, class or object.
        key: of the value in it: a key, index or attribute's name; None where the container as a whole is meant.
        name: for messages.
    """

    container: Any
    key: Any
    name: str

    @property
    def identity(self) -> tuple[int, Any]:
        """What two looks at the same place have in common."""
        return id(self.container), self.key

    def get(self) -> Any:
        """Read the value.

        Returns:
            The value; MISSING where there is none.
        """
        return MISSING if self.key is None else _values(self.container, [self.key])[0]

    def put(self, value: Any) -> None:
        """Replace the value.

        Args:
            value: the new one.
        """
        if isinstance(self.container, dict | list | deque):
            self.container[self.key] = value
        else:
            setattr(self.container, self.key, value)


class Values:
    """Some values of one container.

    Args:
        container: a dict, list, tuple, deque, cell, class or object with slots.
        keys: of the values.
        name: of the container, for messages.
        counted: whether the container's number of entries counts as well; True by default.
    """

    def __init__(self, container: Any, keys: Sequence[Any], name: str, counted: bool = True) -> None:
        self.container, self.keys, self.name = container, list(keys), name
        self.counted = counted and isinstance(container, dict | list | deque)
        self.values = _values(container, self.keys)
        self._length = self._count()

    def is_same(self) -> bool:
        """Look at the values, without taking them over.

        Returns:
            Whether every value is the object that it was.
        """
        values = _values(self.container, self.keys)
        return all(map(operator.is_, values, self.values)) and self._length == self._count()

    def changes(self) -> Iterator[Place]:
        """Take over the values as they are now.

        Yields:
            The places whose value is not equal to the one before.
        """
        for position, (key, value) in enumerate(zip(self.keys, _values(self.container, self.keys), strict=True)):
            before, self.values[position] = self.values[position], value
            if value is not before and not _equal(value, before):
                yield self._place(key)
        if self._length != self._count():
            self._length = self._count()
            yield Place(self.container, None, self.name)

    def restorer(self) -> Callable[[], None]:
        """Note the container as it is now.

        Returns:
            A function that makes it so again.
        """
        container, places = self.container, self.places()
        if self.counted:
            entries: Any = dict(container) if isinstance(container, dict) else list(container)
            extend = container.update if isinstance(container, dict) else container.extend

            def restore_whole() -> None:
                container.clear()
                extend(entries)

            return restore_whole
        values = [place.get() for place in places]

        def restore() -> None:
            for place, value in zip(places, values, strict=True):
                if place.get() is not value and value is not MISSING:
                    place.put(value)

        return restore

    def places(self) -> list[Place]:
        """Where the values are.

        Returns:
            A place for each key.
        """
        return [self._place(key) for key in self.keys]

    def _place(self, key: Any) -> Place:
        if isinstance(self.container, types.CellType):
            return Place(self.container, key, self.name)
        return Place(self.container, key, f"{self.name}.{key}" if isinstance(key, str) else f"{self.name}[{key!r}]")

    def _count(self) -> int:
        return len(self.container) if self.counted else 0


class Contents:
    """The contents of something that changes in place: an array, a set, a generator of random numbers.

    Args:
        value: the object.
        name: for messages.
        copy: from nothing to something that equals what it returned before while the contents are the same.
        paste: makes the contents equal to such a copy.
    """

    def __init__(self, value: Any, name: str, copy: Callable[[], Any], paste: Callable[[Any], Any]) -> None:
        self.value, self.name, self._copy, self._paste = value, name, copy, paste
        self._known = copy()

    def is_same(self) -> bool:
        """Look at the contents, without taking them over.

        Returns:
            Whether they are what they were.
        """
        return _equal_contents(self._copy(), self._known)

    def changes(self) -> Iterator[Place]:
        """Take over the contents as they are now.

        Yields:
            The place.
        """
        self._known = self._copy()
        yield Place(self.value, None, self.name)

    def restorer(self) -> Callable[[], None]:
        """Note the contents as they are now.

        Returns:
            A function that makes them so again.
        """
        copy = self._copy()
        return lambda: None if _equal_contents(self._copy(), copy) else self._paste(copy)


def _values(container: Any, keys: Sequence[Any]) -> list[Any]:
    """The container's values, MISSING where there is none."""
    if isinstance(container, dict):
        return [container.get(key, MISSING) for key in keys]
    if isinstance(container, list | tuple | deque):
        items = list(container)
        return items if len(items) == len(keys) else [items[k] if k < len(items) else MISSING for k in keys]
    if isinstance(container, type):
        return [container.__dict__.get(key, MISSING) for key in keys]
    if isinstance(container, types.CellType) and keys:
        try:
            return [container.cell_contents]
        except ValueError:  # the variable is not set
            return [MISSING]
    return [getattr(container, key, MISSING) for key in keys]


def _equal(one: Any, other: Any) -> bool:
    """Whether two values of one type are the same for a program: equal if they cannot change, or of the same memory."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Tensor):
        return not (one.requires_grad or other.requires_grad) and _memory_of(one) == _memory_of(other)
    return isinstance(one, (*IMMUTABLE, types.MethodType)) and bool(one == other or (one != one and other != other))


def _memory_of(tensor: Tensor) -> tuple[Any, ...]:
    """Which memory a tensor is, and how it is laid out in it."""
    strided = tensor.layout == torch.strided
    where = (tensor.data_ptr(), tensor.stride()) if strided else (id(tensor),)
    return (*where, tensor.shape, tensor.dtype, tensor.device)


def _equal_contents(one: Any, other: Any) -> bool:
    """Whether two copies of contents are equal."""
    if isinstance(one, np.ndarray):
        nan = one.dtype.kind in "fc"
        return one.dtype == other.dtype and bool(np.array_equal(one, other, equal_nan=nan))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal_contents(one[key], other[key]) for key in one)
    return bool(one == other)
