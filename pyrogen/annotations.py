"""Type annotations: whether a value is of the annotated type, and the type in words."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import sys
from collections.abc import Callable, Sequence
from inspect import Parameter, isclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import IO, Annotated, Any, BinaryIO, Literal, TextIO, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MaxLen, MinLen

Count = Annotated[int, Ge(1)]
"""Of draws, steps, layers."""
CountOrZero = Annotated[int, Ge(0)]
"""Of what there may be none of: blocks, labels, symbols."""
Seed = Annotated[int, Interval(ge=0, lt=2**64)]
"""Of random numbers."""

_UNIONS = (Union, UnionType)
_SEQUENCES = (list, tuple, Sequence)
_LIMITS = (Ge, Gt, Le, Lt, MinLen, MaxLen)
_WITHIN: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "min_length": lambda value, length: len(value) >= length,
    "max_length": lambda value, length: len(value) <= length,
}
_NAMES: dict[Any, str] = {int: "whole number", float: "number", str: "string", Any: "value"}


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value, as JSON has it, is of an annotated type.

    A whole number is a number too, true and false are not; a number is finite; a list may stand for a tuple, a string
    for a path. Limits are those of `annotated_types`, such as `Annotated[int, Ge(1)]`. A type that Python cannot check,
    such as a protocol, accepts every value.

    Args:
        hint: the annotation, evaluated.
        value: the value.

    Returns:
        True where the value is of that type.

    Example:
        >>> accepts(int | None, 3), accepts(int, True), accepts(Literal["a", "b"], "c"), accepts(list[float], [1, 2.5])
        (True, False, False, True)
    """
    plain, limits = _without_limits(hint)
    if not _is_of_type(plain, value):
        return False
    return value is None or all(_WITHIN[name](value, limit) for name, limit in limits.items())


def _is_of_type(hint: Any, value: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        return any(accepts(alternative, value) for alternative in arguments)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if (origin or hint) in _SEQUENCES:
        return isinstance(value, list | tuple) and _are_elements(origin, arguments, value)
    if hint in (int, float):
        number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        return number and (hint is int or abs(value) <= sys.float_info.max)
    kind = NoneType if hint is None else origin or hint
    if kind in (IO, BinaryIO, TextIO):
        return hasattr(value, "read") or hasattr(value, "write")
    try:
        is_path = isclass(kind) and issubclass(kind, PurePath)
        return kind in (Any, Parameter.empty) or isinstance(value, (str, kind) if is_path else kind)
    except TypeError:
        return True


def _are_elements(origin: Any, hints: tuple[Any, ...], values: Sequence[Any]) -> bool:
    if origin is tuple and hints[-1:] != (...,):
        return len(hints) == len(values) and all(map(accepts, hints, values))
    return not hints or all(accepts(hints[0], value) for value in values)


def _without_limits(hint: Any) -> tuple[Any, dict[str, Any]]:
    """The plain type, and its limits by name: `ge`, `gt`, `le`, `lt`, `min_length`, `max_length`."""
    if get_origin(hint) is not Annotated:
        return hint, {}
    plain, *metadata = get_args(hint)
    limits: dict[str, Any] = {}
    for group in metadata:
        for limit in group if isinstance(group, GroupedMetadata) else [group]:
            if isinstance(limit, _LIMITS):
                limits |= dataclasses.asdict(limit)
    return plain, limits


def type_hints(build: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, or of a class's constructor, evaluated.

    Args:
        build: the function or class.

    Returns:
        By name; without those that name what is imported for type checkers alone.
    """
    annotated: Any = build.__init__ if isclass(build) and not dataclasses.is_dataclass(build) else build
    try:
        return get_type_hints(annotated, include_extras=True)
    except Exception:
        namespace, hints = getattr(inspect.unwrap(annotated), "__globals__", {}), {}
    for name, hint in inspect.get_annotations(inspect.unwrap(annotated)).items():
        try:
            hints[name] = eval(hint, namespace) if isinstance(hint, str) else hint
        except Exception:
            continue
    return hints


def choices(hint: Any) -> tuple[str, ...]:
    """The words that are values of an annotated type.

    Args:
        hint: the annotation, evaluated.

    Returns:
        Those of each `Literal`, and JSON's names of true, false and null.

    Example:
        >>> choices(Literal["row", "diagonal"] | None)
        ('row', 'diagonal', 'null')
    """
    if hint is bool:
        return "true", "false"
    if hint is NoneType:
        return ("null",)
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    return tuple(choice for argument in get_args(hint) for choice in choices(argument))


def describe(hint: Any, plural: bool = False) -> str:
    """An annotated type in words.

    Args:
        hint: the annotation, evaluated.
        plural: whether several values are meant; one by default.

    Returns:
        The words.

    Example:
        >>> describe(Annotated[int, Ge(1)] | None), describe(Sequence[float])
        ('a whole number of at least 1 or null', 'a list of numbers')
    """
    plain, limits = _without_limits(hint)
    origin, arguments = get_origin(plain), get_args(plain)
    if origin in _UNIONS:
        *first, last = [_describe_alternative(alternative, arguments, plural) for alternative in arguments]
        return f"{', '.join(first)} or {last}"
    if origin is Literal:
        return f"{'any' if plural else 'one'} of {', '.join(map(str, arguments))}"
    if (origin or plain) in _SEQUENCES:
        return _describe_list(describe(arguments[0] if arguments else Any, plural=True), **limits)
    if plain in (bool, NoneType):
        return "true or false" if plain is bool else "null"
    name = _NAMES.get(plain) or (plain.__name__ if isclass(plain) else str(plain))
    return f"{f'{name}s' if plural else f'a {name}'} {_describe_range(limits)}".rstrip()


def _describe_alternative(hint: Any, others: tuple[Any, ...], plural: bool) -> str:
    """One alternative of several; what a list holds that is another alternative is not described twice."""
    plain, limits = _without_limits(hint)
    if get_origin(plain) in _SEQUENCES and get_args(plain)[0] in others:
        return _describe_list("of them" if limits else "them", **limits)
    return describe(hint, plural)


def _describe_list(elements: str, min_length: int = 0, max_length: int | None = None) -> str:
    if max_length is not None:
        return f"a list of {min_length} to {max_length} {elements}"
    return f"a list of {f'at least {min_length} ' if min_length else ''}{elements}"


def _describe_range(limits: dict[str, Any]) -> str:
    if {"ge", "le"} <= limits.keys():
        return f"from {limits['ge']:,} to {limits['le']:,}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    text = " and ".join(f"{words[name]} {limit:,}" for name, limit in limits.items() if name in words)
    return f"of {text}" if text.startswith("at") else text
