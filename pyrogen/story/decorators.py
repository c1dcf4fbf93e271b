"""What `Story` puts around the methods of its subclasses."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

from pyrogen.story.module import ParamStoreModule


def in_own_store(method: Callable[..., Any], signature_of: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Wrap `model` or `guide` to run in the story's own parameter store, `PyroSample` attributes drawn once a run.

    Args:
        method: the function, which takes the story first.
        signature_of: the function whose signature the wrapped one shows; None shows that of `method`.

    Returns:
        The wrapped method.
    """

    @functools.wraps(method)
    def run(self: ParamStoreModule, *args: Any, **kwargs: Any) -> Any:
        with self.program_scope():
            return method(self, *args, **kwargs)

    run.__wrapped__ = method if signature_of is None else signature_of
    run._in_own_store = True  # type: ignore[attr-defined]
    return run


def record_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor to keep its arguments, defaults filled in, as `self.arguments` for a run directory.

    Args:
        init: the `__init__` of a story's class.

    Returns:
        The wrapped constructor.
    """

    @functools.wraps(init)
    def run(self: object, *args: Any, **kwargs: Any) -> None:
        if "arguments" not in self.__dict__:
            bound = inspect.signature(init).bind(self, *args, **kwargs)
            bound.apply_defaults()
            self.__dict__["arguments"] = dict(itertools.islice(bound.arguments.items(), 1, None))
        init(self, *args, **kwargs)

    return run
