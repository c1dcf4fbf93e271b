"""The settings of a story, read off the signature of what builds it: names, types, defaults, conditions of use."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pyrogen.annotations import accepts, choices, describe, type_hints
from pyrogen.messages import UsageError, did_you_mean

_WIDTH = 60
"""Characters of a value that a message shows."""


class UsedIf:
    """When a setting has an effect: where other settings have these values. Of several conditions, one is enough.

    Args:
        **values: by the name of another setting, its value, or a tuple of values of which it has one.

    Example:
        >>> from typing import Annotated
        >>> components: Annotated[int, UsedIf(prior=("mixture", "vamp"))]
        >>> str(UsedIf(prior=("mixture", "vamp"), noise=True))
        'prior=mixture or vamp and noise=true'
    """

    def __init__(self, **values: Any) -> None:
        self.values = {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}

    def unmet(self, arguments: Mapping[str, Any]) -> list[str]:
        """The settings that have other values.

        Args:
            arguments: of all settings.

        Returns:
            Their names; none where the condition holds.
        """
        return [name for name, values in self.values.items() if arguments[name] not in values]

    def __str__(self) -> str:
        return " and ".join(f"{name}={_either(map(format_value, values))}" for name, values in self.values.items())


def _either(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


class Auto:
    """What a setting's default stands for, where that depends on the data.

    Args:
        choose: from other arguments, which it asks for by name, to the value.
    """

    def __init__(self, choose: Callable[..., Any]) -> None:
        self.choose = choose

    def value(self, arguments: Mapping[str, Any]) -> Any:
        """The value for these arguments.

        Args:
            arguments: of all settings and of the data.

        Returns:
            What `choose` makes of those that it asks for.
        """
        return self.choose(**{name: arguments[name] for name in inspect.signature(self.choose).parameters})


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: its name.
        hint: the type of its values; `Any` where there is no annotation.
        default: its value where it is not set; `inspect.Parameter.empty` where it must be.
    """

    name: str
    hint: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether it must be set."""
        return self.default is inspect.Parameter.empty

    @property
    def conditions(self) -> tuple[UsedIf, ...]:
        """When it has an effect; without conditions, always."""
        return tuple(each for each in self._metadata if isinstance(each, UsedIf))

    @property
    def auto(self) -> Auto | None:
        """What its default stands for, where that depends on the data."""
        return next((each for each in self._metadata if isinstance(each, Auto)), None)

    @property
    def _metadata(self) -> tuple[Any, ...]:
        return get_args(self.hint)[1:] if get_origin(self.hint) is Annotated else ()

    def problem(self, value: Any) -> str:
        """What is wrong with a value.

        Args:
            value: the value.

        Returns:
            What the setting takes and what came, to be put behind its name; empty where the value is right.
        """
        if accepts(self.hint, value) or (value is None and self.default is None):
            return ""
        hint = did_you_mean(value, choices(self.hint)) if isinstance(value, str) else ""
        return f"takes {describe(self.hint)}, got {format_value(value, json.dumps)}{hint}"

    def why_unused(self, arguments: Mapping[str, Any]) -> str:
        """Why the setting has no effect.

        Args:
            arguments: of all settings and of the data.

        Returns:
            The values of other settings that it would need, to be put behind its name; empty where it has an effect.
        """
        unmet = [condition.unmet(arguments) for condition in self.conditions]
        if not unmet or not all(unmet):
            return ""
        values = ", ".join(f"{name}={format_value(arguments[name])}" for name in unmet[0])
        return f"has no effect with {values}; it is used with {', or '.join(map(str, self.conditions))}"


def settings_of(build: Callable[..., Any]) -> dict[str, Setting]:
    """The parameters of a function or class that are passed by name, as settings.

    Args:
        build: the function or class.

    Returns:
        The settings by name, in their order.
    """
    hints = type_hints(build)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: Setting(name, hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.kind in by_name
    }


def check_settings(
    values: Mapping[str, Any], schema: Mapping[str, Setting], owner: str, unlisted: Collection[str] = ()
) -> None:
    """Check that settings exist, and that their values are of their types and in their ranges.

    Args:
        values: by name.
        schema: the settings that there are.
        owner: what has the settings, for messages.
        unlisted: settings that a message does not suggest; none by default.

    Raises:
        UsageError: one does not exist, or has a wrong value.
    """
    for name, value in values.items():
        if name not in schema:
            listed = [each for each in schema if each not in unlisted]
            raise UsageError(
                f"{owner} has no setting {name!r}{did_you_mean(name, listed)} (it has: {', '.join(listed) or 'none'})"
            )
        if problem := schema[name].problem(value):
            raise UsageError(f"{owner}: {name} {problem}")


def format_value(value: Any, of_string: Callable[[str], str] = str) -> str:
    """A value as `--set` takes it, in one line, cut short where it is long.

    Args:
        value: the value.
        of_string: how a string is written; as it is by default.

    Returns:
        The text.
    """
    text = of_string(value) if isinstance(value, str) else json.dumps(value, default=repr, separators=(",", ":"))
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
