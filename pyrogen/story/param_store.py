"""Parameter stores: Pyro keeps one for the whole process, pyrogen gives every story its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyro
from torch import Tensor

ONE_THREAD = threading.RLock()
"""Held where a program runs: Pyro's handlers and store, torch's random state and defaults belong to the process.

Another thread waits until it is free; the same thread may enter again."""


def _after_fork() -> None:
    """A child process has one thread: what another thread of its parent held is free."""
    if not ONE_THREAD._is_owned():  # type: ignore[attr-defined]
        ONE_THREAD._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass
class Store:
    """The contents of a Pyro parameter store.

    Args:
        params: unconstrained tensors by name; none by default.
        constraints: of the tensors, by name; none by default.
        names: of the tensors, by tensor; none by default.
    """

    params: dict[str, Tensor] = field(default_factory=dict)
    constraints: dict[str, Any] = field(default_factory=dict)
    names: dict[Tensor, str] = field(default_factory=dict)

    @classmethod
    def current(cls) -> Store:
        """The store that Pyro uses now.

        Returns:
            A store that shares its dictionaries.
        """
        store = pyro.get_param_store()
        return cls(store._params, store._constraints, store._param_to_name)

    def select(self, names: Iterable[str]) -> Store:
        """A new store with some of the entries.

        Args:
            names: of the entries.

        Returns:
            The store, of the same tensors.
        """
        kept = {name: self.params[name] for name in names}
        return Store(kept, {name: self.constraints[name] for name in kept}, {p: name for name, p in kept.items()})

    def update(self, other: Store) -> None:
        """Add the entries of another store.

        Args:
            other: the store; its entries replace those of the same name.
        """
        self.params.update(other.params)
        self.constraints.update(other.constraints)
        self.names.update(other.names)

    def put(self, name: str, parameter: Tensor) -> None:
        """Hold this very tensor, in place of what had its name.

        Args:
            name: of the entry.
            parameter: an unconstrained tensor.
        """
        if self.params.get(name) is not parameter:
            self.params[name] = parameter
            self.constraints[name] = pyro.distributions.constraints.real
        self.names[parameter] = name

    @contextmanager
    def activated(self) -> Iterator[None]:
        """Let Pyro work on this store; on leaving, by an exception too, it has its former one, unchanged.

        Pyro's own `ParamStoreDict.scope` forgets what happened inside when an exception leaves it, and strips
        `.unconstrained` from tensors that are in use, so the three dictionaries are exchanged instead.

        Yields:
            None.
        """
        store = pyro.get_param_store()
        former = Store.current()
        store._params, store._constraints, store._param_to_name = self.params, self.constraints, self.names
        try:
            yield
        finally:
            # A program may have called `pyro.clear_param_store()`, which makes new dictionaries.
            self.params, self.constraints, self.names = store._params, store._constraints, store._param_to_name
            store._params, store._constraints, store._param_to_name = former.params, former.constraints, former.names
