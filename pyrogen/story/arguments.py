"""Arguments are asked for by name: what a batch holds, and how a model or guide receives it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro.poutine.messenger import unwrap
from torch import Tensor, nn

from pyrogen.messages import did_you_mean

__all__ = ["RESERVED", "Batch", "Signature"]

RESERVED = ("n", "total", "index")
"""Names that every model and guide may ask for: rows in the batch, rows in the training set, the rows' positions."""

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Batch:
    """Some rows of a data set.

    Args:
        columns: by name, or by position (0, 1, ...) where the data came without names; None means "draw it".
        n: rows in this batch.
        total: rows in the training set; None where that is not known.
        index: (n,) int64, the rows' positions in their data set; None where that is not known.
        extra: further arguments by name.
    """

    columns: Mapping[str | int, Any]
    n: int
    total: int | None = None
    index: Tensor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `function` applied to every tensor column and to the index."""
        columns = {key: function(c) if isinstance(c, Tensor) else c for key, c in self.columns.items()}
        return replace(self, columns=columns, index=None if self.index is None else function(self.index))

    def rows(self, start: int, stop: int) -> Batch:
        """The rows from `start` up to, not with, `stop`."""
        stop = min(stop, self.n)
        return replace(self.map(lambda column: column[start:stop]), n=stop - start)

    def repeated(self, times: int) -> Batch:
        """Every row `times` times: row i of the batch becomes rows i, n + i, 2n + i, ..."""
        if times == 1:
            return self
        return replace(self.map(lambda c: c.repeat(times, *[1] * (c.dim() - 1))), n=self.n * times)

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""
        return self.map(lambda column: column.to(device, non_blocking=True))

    @property
    def named(self) -> dict[str, Any]:
        """Everything that can be asked for by name."""
        known = {"n": self.n, "total": self.total, "index": self.index}
        known = {name: value for name, value in known.items() if value is not None}
        return {**known, **{k: c for k, c in self.columns.items() if isinstance(k, str)}, **self.extra}

    @property
    def unnamed(self) -> list[Any]:
        """The columns that came without a name, in their order."""
        return [column for key, column in self.columns.items() if isinstance(key, int)]


class Signature:
    """What a model or guide asks for, read once from its signature.

    Args:
        function: a function, bound method, or module (whose `forward` is read).
        who: how messages call it, such as "Topics.model".
        like: the signature that stands in where the function only says `*args, **kwargs`, as Pyro's AutoGuides do.
    """

    def __init__(self, function: Callable[..., Any], who: str, like: Signature | None = None) -> None:
        parameters = _parameters(function)
        self.who = who
        self.parameters = [p for p in parameters if p.kind in _NAMED]
        self.open = len(self.parameters) < len(parameters)
        if self.open and not self.parameters and like is not None:
            self.parameters, self.open = like.parameters, like.open

    @property
    def columns(self) -> list[str]:
        """The names asked for that are not reserved, in order."""
        return [p.name for p in self.parameters if p.name not in RESERVED]

    def wants(self, key: str | int) -> bool:
        """Whether the function can receive the column `key`."""
        if isinstance(key, int):
            return self.open or key < len(self.columns)
        return self.open or key in self.columns

    def bind(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for `batch`, positional ones as far as none is left to its default.

        Raises:
            ValueError: a parameter without default is neither a column, nor reserved, nor in `arguments`.
        """
        unnamed, named = batch.unnamed, batch.named
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        gap = False
        for parameter in self.parameters:
            name = parameter.name
            if unnamed and name not in RESERVED:
                value = unnamed.pop(0)
            elif name in named:
                value = named[name]
            elif parameter.default is not parameter.empty:
                gap = True
                continue
            else:
                raise ValueError(self._missing(name, batch))
            if gap or parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        if self.open and not self.parameters:
            args, kwargs = unnamed, {key: c for key, c in batch.columns.items() if isinstance(key, str)}
        return tuple(args), kwargs

    def _missing(self, name: str, batch: Batch) -> str:
        if name in RESERVED:
            return f"{self.who} asks for '{name}', which is not known for this data: pass it with fit(arguments=...)"
        columns = [str(key) for key in batch.columns]
        have = ", ".join(columns) or "none"
        return (
            f"{self.who} asks for '{name}', and the data has no such column (columns: {have}; always there: n, total, "
            f"index){did_you_mean(name, columns)}: rename the parameter, give it a default, or add the column"
        )


def _parameters(function: Any) -> list[inspect.Parameter]:
    """The parameters of a program, seen through Pyro's handlers that may be put around it."""
    if isinstance(function, nn.Module):
        return _parameters(function.forward)
    if isinstance(function, functools.partial) and getattr(function.func, "_at_home", False):
        return _parameters(function.func.__wrapped__)  # type: ignore[attr-defined]
    bound = inspect.ismethod(function)
    while getattr(function, "__wrapped__", None) is not None:
        function = function.__wrapped__
    bare = unwrap(function)
    parameters = list(inspect.signature(bare).parameters.values())
    return parameters[1:] if bound and not inspect.ismethod(bare) else parameters
