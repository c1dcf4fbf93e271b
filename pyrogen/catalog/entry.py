"""One line of the catalog, and how settings are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from pyrogen.messages import did_you_mean
from pyrogen.story import Story

__all__ = ["GIVEN", "Entry", "chosen", "sizes"]

GIVEN = ("event_shape", "classes", "levels", "symbols", "missing_labels", "total")
"""What a story's constructor receives from the data where it asks for it."""


@dataclass(frozen=True)
class Entry:
    """One line of the catalog.

    Args:
        name: what `train` and `list` call the story.
        summary: one line for `list`.
        build: from settings to a story; its parameters are the settings, those of `GIVEN` come from the data.
        training: options of `fit` that suit it: epochs, batch_size, lr, ...; `adam`: further options of Adam.
        tiny: a small instance and data for the exam.
    """

    name: str
    summary: str
    build: Callable[..., Story]
    training: Mapping[str, Any] = field(default_factory=dict)
    tiny: Callable[[], tuple[Story, dict[str, Tensor]]] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with their defaults, for those that have one."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in GIVEN}

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """What there is to choose from, by settings that name one of a few."""
        hints = get_type_hints(self.build)
        named = {name: get_args(hints[name]) for name in self.settings if get_origin(hints.get(name)) is Literal}
        return {name: tuple(map(str, values)) for name, values in named.items()}

    def make(self, settings: Mapping[str, Any], **given: Any) -> Story:
        """Build the story from settings and what the data tells.

        Raises:
            ValueError: an unknown setting, or one that must be set.
        """
        parameters = inspect.signature(self.build).parameters
        for name in settings:
            if name not in parameters:
                hint = did_you_mean(name, self.settings)
                raise ValueError(
                    f"{self.name} has no setting '{name}'{hint} (it has: {', '.join(self.settings) or 'none'})"
                )
        told = {name: value for name, value in given.items() if name in parameters and value is not None}
        arguments = {**told, **settings}
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
            if needed and name not in arguments:
                remedy = "the data does not tell it" if name in GIVEN else f"pass --set {name}=..."
                raise ValueError(f"{self.name} needs '{name}': {remedy}")
        return self.build(**arguments)


def chosen(setting: str, value: Any, table: Mapping[str, Any]) -> Any:
    """What `value` names in `table`; a ValueError says what there is."""
    if value not in table:
        raise ValueError(f"{setting} is one of {', '.join(table)}, got {value!r}")
    return table[value]


def sizes(setting: str, value: Any) -> tuple[int, ...]:
    """Widths, from a whole number or a list of them."""
    widths = (value,) if isinstance(value, int) else tuple(value)
    if not widths or any(not isinstance(width, int) or width < 1 for width in widths):
        raise ValueError(f"{setting} is a list of widths of at least 1, such as [400, 400], got {value!r}")
    return widths
