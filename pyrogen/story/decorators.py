"""What `Story` puts around the methods of its subclasses."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrogen.story.story import Story

__all__ = ["at_home", "remembering"]


def at_home(method: Callable[..., Any], like: Any = None) -> Callable[..., Any]:
    """`model` or `guide`, run where parameters are the story's own and `PyroSample` attributes are drawn once."""

    @functools.wraps(method)
    def run(self: Story, *args: Any, **kwargs: Any) -> Any:
        with self._visit(), nullcontext() if self._shaping else self._pyro_context:
            return method(self, *args, **kwargs)

    run.__wrapped__ = method if like is None else like
    run._at_home = True  # type: ignore[attr-defined]
    return run


def remembering(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that keeps its arguments, so that a run folder can tell them."""

    @functools.wraps(init)
    def run(self: Story, *args: Any, **kwargs: Any) -> None:
        if "arguments" not in self.__dict__:
            bound = inspect.signature(init).bind(self, *args, **kwargs)
            bound.apply_defaults()
            self.__dict__["arguments"] = dict(itertools.islice(bound.arguments.items(), 1, None))
        init(self, *args, **kwargs)

    return run
