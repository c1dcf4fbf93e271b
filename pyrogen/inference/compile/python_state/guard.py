"""What a change of Python state means for steps that were recorded: recorded anew, an input of the graph, or eager."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.compile.python_state.walk import PythonState
from pyrogen.inference.compile.python_state.watched_values import Place
from pyrogen.inference.compile.tracing import CannotTrace

CHANGES_BEFORE_INPUT = 2
"""Changes of a number or tensor after which it becomes an input of the graph: it is annealed, or a batch."""
MAX_CHANGES = 20
"""Changes of anything else after which steps stay eager."""


class LiveInput:
    """A number or tensor outside the program's arguments that changes from step to step, as an input of the graph.

    Args:
        place: where the program finds it.
        dtype: of the tensor that stands for a number.
    """

    def __init__(self, place: Place, dtype: torch.dtype) -> None:
        self.place, self._value = place, place.get()
        is_tensor = isinstance(self._value, Tensor)
        self.tensor = self._value.detach() if is_tensor else torch.tensor(self._value, dtype=dtype)
        self._layout = _layout_of(self._value)

    def read(self) -> bool:
        """Let the graph's input have the value that the place holds now.

        Returns:
            Whether it can: not where the value is of another kind, shape or type.
        """
        value = self.place.get()
        if value is self._value:
            return True
        if _layout_of(value) != self._layout:
            return False
        self._value = value
        if isinstance(value, Tensor):
            self.tensor.set_(value.detach())  # type: ignore[call-overload]
        else:
            self.tensor.fill_(value)
        return True

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The input in place of the value, so that a recording reads it.

        Yields:
            None.
        """
        value = self.place.get()
        self.place.put(self.tensor)
        try:
            yield
        finally:
            self.place.put(value)


def _layout_of(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Tensor):
        return type(value), value.shape, value.stride(), value.dtype, value.device, value.requires_grad
    return (type(value),)


def _can_be_input(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.requires_grad and value.layout == torch.strided
    return isinstance(value, float | int) and not isinstance(value, bool)


class StateGuard:
    """The Python state that recorded steps depend on.

    Args:
        roots: of the functions and objects from which the program is reached; called at each recording.
        dtype: of the parameters, in which a number that becomes an input is held.
    """

    def __init__(self, roots: Callable[[], Sequence[Any]], dtype: torch.dtype) -> None:
        self._roots, self._dtype = roots, dtype
        self._state: PythonState | None = None
        self._live: list[LiveInput] = []
        self._counts: dict[str, int] = {}

    def holds(self) -> bool:
        """Look whether recorded steps may be taken.

        Returns:
            False where something has changed and they are to be recorded anew.

        Raises:
            CannotTrace: something changes again and again, and cannot be an input.
        """
        if self._state is None:
            return False
        changed = [live.place for live in self._live if not live.read()] + self._state.changes()
        if not changed:
            return True
        self._state = None
        for place in changed:
            self._counts[place.name] = self._counts.get(place.name, 0) + 1
            if self._counts[place.name] > MAX_CHANGES:
                raise CannotTrace(f"'{place.name}' changes from step to step: keep it in a tensor")
        return False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Watch the state as it is now, while a step is recorded.

        Yields:
            None.

        Raises:
            CannotTrace: the program changes the state itself.
        """
        if self._state is None:
            roots = self._roots()
            frequent = [name for name, count in self._counts.items() if count > CHANGES_BEFORE_INPUT]
            places = PythonState(roots).find(frequent) if frequent else []
            self._live = [LiveInput(place, self._dtype) for place in places if _can_be_input(place.get())]
            self._state = PythonState(roots, {live.place.identity for live in self._live})
        with self._state.restored():
            with _all_in_place(self._live):
                yield
            changed = self._state.changes()
        if changed:
            self._state = None
            raise CannotTrace(f"it changes '{changed[0].name}' as it runs: keep it in a tensor that is a buffer")

    def state(self) -> dict[str, int]:
        """How often what has changed, so that a resumed run treats it alike.

        Returns:
            The state, for a checkpoint.
        """
        return dict(self._counts)

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        self._counts = dict(state)


@contextmanager
def _all_in_place(inputs: Sequence[LiveInput]) -> Iterator[None]:
    if not inputs:
        yield
        return
    with inputs[0].in_place(), _all_in_place(inputs[1:]):
        yield
