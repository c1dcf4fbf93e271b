"""What `Story` puts around the methods of its subclasses."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger

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


def run_as_guide(guide: Callable[..., Any]) -> Callable[..., Any]:
    """A guide as a function that draws its latents and nothing else.

    A `GuideMessenger` runs the model too, whose observations would count as the guide's own; they are hidden.

    Args:
        guide: a guide of any kind.

    Returns:
        The guide as it is, or a function around it.
    """
    if not isinstance(poutine.unwrap(guide), Messenger):
        return guide

    def hidden(msg: Any) -> bool:
        return msg["type"] == "sample" and bool(msg["is_observed"])

    run: Callable[..., Any] = poutine.block(guide, hide_fn=hidden)
    return run
