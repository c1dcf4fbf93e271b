"""Arguments of public functions and constructors, checked against their annotations before anything is done."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import numpy as np

from pyrogen.annotations import accepts, describe, type_hints
from pyrogen.messages import is_own

C = TypeVar("C", bound=Callable[..., Any])
_WIDTH = 60
"""Characters of a value that a message shows."""
_OF_SIZE = re.compile("allocate|overflow|negative dimension|out of memory|too large|invalid size", re.IGNORECASE)
"""In what torch says of sizes that it cannot make."""
_PYTHON = {"null": "None", "true or false": "True or False"}
"""Words of JSON, which `describe` uses, in Python."""


def checked(call: C) -> C:
    """Check the arguments of a function, or of a class's constructor, against the annotations of its parameters.

    An argument that is the parameter's default is always right, and a number of numpy's becomes one of Python's. Where
    the call itself refuses an argument, its own message is raised, which knows more. What cannot be built because it
    is too large is refused too.

    Args:
        call: the function or class.

    Returns:
        A function around it; of a class the class itself, whose `__init__` is replaced.

    Example:
        >>> @checked
        ... def repeat(text: str, times: int = 2) -> str:
        ...     return text * times
        >>> repeat("a", "b")
        Traceback (most recent call last):
            ...
        TypeError: repeat: times takes a whole number, got 'b'
    """
    if not inspect.isclass(call):
        return _guarded(call, call.__name__, lambda: type_hints(call), 0)
    hints = functools.partial(type_hints, call)
    call.__init__ = _guarded(call.__init__, call.__name__, hints, 1)  # type: ignore[method-assign]
    return call


def check_public(
    namespace: dict[str, Any], classes: bool = True, functions: bool = True, but: Collection[str] = ()
) -> None:
    """Let the functions that a package exports, and the classes that it defines itself, check their arguments.

    Args:
        namespace: of the package, with `__all__`; its functions are replaced in it.
        classes: whether classes are checked, abstract ones excepted; True by default.
        functions: whether functions are checked; True by default.
        but: names of those that check their arguments themselves; none by default.
    """
    for name in (name for name in namespace["__all__"] if name not in but):
        value = namespace[name]
        if inspect.isclass(value):
            if classes and "__init__" in vars(value) and not inspect.isabstract(value):
                checked(value)
        elif functions and inspect.isfunction(value):
            namespace[name] = checked(value)


def _guarded(call: Callable[..., Any], owner: str, hints: Callable[[], dict[str, Any]], skip: int) -> Any:
    signature, evaluated = inspect.signature(call), functools.cache(hints)  # once every name that they use is there

    @functools.wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return call(*args, **kwargs)  # Python says which name is missing or unknown
        problems, wrong = [], []
        for name, value in list(bound.arguments.items())[skip:]:
            bound.arguments[name] = value = value.item() if isinstance(value, np.generic) else value
            found = _problems(owner, signature.parameters[name], evaluated().get(name, Any), value)
            problems += found
            wrong += [name] if found else []
        if not skip and any(_is_endless(bound.arguments[name]) for name in wrong):
            raise problems[0]
        with _of_sizes(owner) if skip and not problems else nullcontext():
            try:
                result = call(*bound.args, **bound.kwargs)
            except Exception as error:
                if not problems or (isinstance(error, ValueError | TypeError) and is_own(error)):
                    raise
                raise problems[0] from error
        if problems:
            raise problems[0]
        return result

    return run


def _problems(owner: str, parameter: inspect.Parameter, hint: Any, value: Any) -> list[ValueError | TypeError]:
    """What is wrong with an argument, as an error; none where nothing is."""
    several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if several or value is parameter.default or accepts(hint, value):
        return []
    words = describe(hint)
    for json, python in _PYTHON.items():
        words = words.replace(json, python)
    out_of_range = isinstance(value, int | float | str) and type(value) in _types(hint)
    kind = ValueError if out_of_range else TypeError
    return [kind(f"{owner}: {parameter.name} takes {words}, got {shown(value)}")]


def _is_endless(value: Any) -> bool:
    """Whether a wrong argument, such as inf draws, may keep a function busy for good."""
    return isinstance(value, float) and not (value.is_integer() and abs(value) < 2**31)


def _types(hint: Any) -> set[type]:
    """The types of the values that an annotation allows some of."""
    if get_origin(hint) is Literal:
        return {type(choice) for choice in get_args(hint)}
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return {hint} if hint in (int, float, str) else set().union(*map(_types, inner))


def shown(value: Any) -> str:
    """A value in one short line; a tensor or an array by type and shape.

    Args:
        value: any.

    Returns:
        The line, for a message.
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _WIDTH else f"a {type(value).__name__}, {text[: _WIDTH - 3]}..."


@contextmanager
def _of_sizes(owner: str) -> Iterator[None]:
    """Let what torch cannot build, mostly for its size, be told in one line."""
    try:
        yield
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        if not isinstance(error, OverflowError | MemoryError) and not _OF_SIZE.search(str(error)):
            raise
        raise ValueError(f"{owner} cannot be built with these sizes: they are too large, or below 0") from error
