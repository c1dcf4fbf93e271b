"""One line of the catalog: a story by name, and what builds it from settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyrogen.catalog.settings import Setting, check_settings, format_value, settings_of
from pyrogen.messages import UsageError
from pyrogen.story import Story

FROM_DATA = ("event_shape", "classes", "levels", "symbols", "missing_labels", "total")
"""Arguments that a story receives from the data where it asks for them."""


@dataclass(frozen=True)
class Entry:
    """One line of the catalog.

    Args:
        name: what `train` and `list` call the story.
        summary: one line for `list`.
        build: a function or class that makes the story; its parameters are the settings, those of `FROM_DATA` come from
            the data, and its annotations are their types.
        training: options of `fit` that suit the story: epochs, batch_size, lr, ...; `adam`: further options of Adam.
            Empty by default.
        tiny: makes a small instance and data for the exam; None by default.
    """

    name: str
    summary: str
    build: Callable[..., Story]
    training: Mapping[str, Any] = field(default_factory=dict)
    tiny: Callable[[], tuple[Story, dict[str, Tensor]]] | None = None

    @classmethod
    def of(
        cls, build: Callable[..., Story], tiny: Callable[[], tuple[Story, dict[str, Tensor]]], **training: Any
    ) -> Entry:
        """The entry of a function whose name is the story's, and whose docstring begins with the summary.

        Args:
            build: the function.
            tiny: makes a small instance and data for the exam.
            **training: options of `fit` that suit the story.

        Returns:
            The entry.
        """
        summary = (inspect.getdoc(build) or "").split("\n")[0].removesuffix(".")
        return cls(build.__name__.removeprefix("_"), summary, build, training, tiny)

    @property
    def settings(self) -> dict[str, Setting]:
        """The settings by name."""
        return {name: setting for name, setting in settings_of(self.build).items() if name not in FROM_DATA}

    def make(self, settings: Mapping[str, Any], **from_data: Any) -> Story:
        """Build the story.

        Args:
            settings: values by name, as JSON has them.
            **from_data: what the data determine, by the names of `FROM_DATA`; None where they do not.

        Returns:
            The story.

        Raises:
            UsageError: a setting is unknown, missing, of the wrong type, out of range or without effect, or the story
                cannot be built with it.
            ValueError: the data do not determine what the story needs, or are not such as it takes.
        """
        schema = settings_of(self.build)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.build).parameters.values())
        known = {name: value for name, value in settings.items() if name in schema or not takes_any}
        check_settings(known, schema, self.name, unlisted=FROM_DATA)
        arguments = {name: value for name, value in from_data.items() if name in schema and value is not None}
        arguments |= settings
        for name in (name for name, setting in schema.items() if setting.required and name not in arguments):
            if name in FROM_DATA:
                raise ValueError(f"{self.name} needs '{name}', which the data do not determine")
            raise UsageError(f"{self.name} needs the setting '{name}': pass --set {name}=...")
        values = {name: setting.default for name, setting in schema.items()} | arguments
        for name, setting in schema.items():
            if setting.auto is not None and values[name] == setting.default:
                arguments[name] = values[name] = setting.auto.value(values)
        for name in known:
            if unused := schema[name].why_unused(values):
                raise UsageError(f"{self.name}: {name} {unused}")
        try:
            return self.build(**arguments)
        except Exception as error:
            chosen = ", ".join(f"{name}={format_value(value)}" for name, value in settings.items())
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            text = f"cannot be built{' with ' if chosen else ''}{chosen}: {kind}{' '.join(str(error).split())}"
            raise (UsageError if settings else ValueError)(f"{self.name} {text}") from error
