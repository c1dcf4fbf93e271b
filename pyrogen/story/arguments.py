"""Arguments by name: what a batch holds, and how a model or guide receives it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro.poutine.messenger import _bound_partial, _context_wrap
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pyrogen.messages import did_you_mean

RESERVED = ("n", "total", "index")
"""Names that every model and guide may ask for: rows in the batch, rows in the training set, the rows' positions."""

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Batch:
    """Some rows of a data set.

    Args:
        columns: tensors (n, ...) by name, or by position (0, 1, ...) where the data came without names; None in place
            of a tensor has the program draw it.
        n: rows in this batch.
        total: rows in the training set; None, the default, where that is not known.
        index: (n,) int64, the rows' positions in their data set; None, the default, where that is not known.
        extra: further arguments by name; none by default.
    """

    columns: Mapping[str | int, Any]
    n: int
    total: int | None = None
    index: Tensor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Apply a function to every tensor column and to the index.

        Args:
            function: from a tensor to a tensor with as many rows.

        Returns:
            The new batch.
        """
        columns = {key: function(c) if isinstance(c, Tensor) else c for key, c in self.columns.items()}
        return replace(self, columns=columns, index=None if self.index is None else function(self.index))

    def rows(self, start: int, stop: int) -> Batch:
        """Some consecutive rows.

        Args:
            start: the first row.
            stop: the row after the last; those beyond the end are left out.

        Returns:
            The batch of these rows.
        """
        stop = min(stop, self.n)
        return replace(self.map(lambda column: column[start:stop]), n=stop - start)

    def take(self, index: Tensor) -> Batch:
        """Some rows by their positions.

        Args:
            index: (b,) positions.

        Returns:
            The batch of these rows.
        """
        return replace(self.map(lambda column: column[index]), n=len(index))

    def repeated(self, times: int) -> Batch:
        """Repeat all rows: row i becomes rows i, n + i, 2n + i, ...

        Args:
            times: number of copies of each row.

        Returns:
            The batch of times * n rows.
        """
        if times == 1:
            return self
        return replace(self.map(lambda c: c.repeat(times, *[1] * (c.dim() - 1))), n=self.n * times)

    def to(self, device: torch.device) -> Batch:
        """Move the batch to a device.

        Args:
            device: where to.

        Returns:
            The batch there.
        """
        columns = {key: _moved(column, device) for key, column in self.columns.items()}
        return replace(self, columns=columns, index=_moved(self.index, device))

    @property
    def named(self) -> dict[str, Any]:
        """All arguments by name: `n`, `total` and `index` where they are known, named columns, `extra`."""
        reserved = {"n": self.n, "total": self.total, "index": self.index}
        reserved = {name: value for name, value in reserved.items() if value is not None}
        return {**reserved, **{k: c for k, c in self.columns.items() if isinstance(k, str)}, **self.extra}

    @property
    def unnamed(self) -> list[Any]:
        """The columns that came without a name, in their order."""
        return [column for key, column in self.columns.items() if isinstance(key, int)]


def _moved(value: Any, device: torch.device) -> Any:
    """A column on a device, with the tensors in nested dicts and lists."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, PackedSequence):
        packed: Any = value
        return packed.to(device, non_blocking=True)
    if type(value) is dict:
        return {key: _moved(part, device) for key, part in value.items()}
    return type(value)(_moved(part, device) for part in value) if type(value) in (list, tuple) else value


class Signature:
    """The arguments that a model or guide asks for, read once from its signature.

    Args:
        function: a function, bound method, or module (whose `forward` is read).
        owner: how messages call it, such as "Topics.model".
        fallback: the signature used where the function has only `*args, **kwargs`, as Pyro's AutoGuides do; None by
            default.
        foreign: whether the function was not written for pyrogen (one of a pair of Pyro functions): parameters called
            `n`, `total` or `index` are then its own, which receive columns by position and keep their defaults, and
            are filled in only where neither is there. False by default.
    """

    def __init__(
        self, function: Callable[..., Any], owner: str, fallback: Signature | None = None, foreign: bool = False
    ) -> None:
        parameters = _parameters(function)
        self.owner, self.foreign = owner, foreign
        self.parameters = [p for p in parameters if p.kind in _NAMED]
        self.variadic = len(self.parameters) < len(parameters)
        if self.variadic and not self.parameters and fallback is not None:
            self.parameters, self.variadic = fallback.parameters, fallback.variadic

    @property
    def columns(self) -> list[str]:
        """The names asked for that are not reserved, in order."""
        return [p.name for p in self.parameters if p.name not in RESERVED]

    @property
    def positions(self) -> list[str]:
        """The names that data without names go to, in order: of a foreign function all, else `columns`."""
        return [p.name for p in self.parameters] if self.foreign else self.columns

    def accepts(self, key: str | int) -> bool:
        """Whether the function can receive a column.

        Args:
            key: the column's name, or its position where the data came without names.

        Returns:
            Whether it can.
        """
        return self.variadic or (key < len(self.positions) if isinstance(key, int) else key in self.positions)

    def injected(self, columns: Iterable[str | int], extra: Iterable[str] = ()) -> list[str]:
        """The reserved names that are filled in by pyrogen, as no column and no further argument goes there.

        Args:
            columns: names, or positions, of the data's columns.
            extra: names of further arguments; none by default.

        Returns:
            The names, in the order of the signature.
        """
        unnamed = sum(isinstance(key, int) for key in columns)
        taken = {*self.positions[:unnamed], *columns, *extra}
        left = [p for p in self.parameters if p.name in RESERVED and p.name not in taken]
        return [p.name for p in left if not self.foreign or p.default is p.empty]

    def bind(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for a batch.

        Args:
            batch: the rows.

        Returns:
            Positional arguments, up to the first that keeps its default, and the others by name.

        Raises:
            ValueError: a parameter without default is neither a column, nor reserved, nor in `fit(arguments=...)`.
        """
        unnamed, named, given = batch.unnamed, batch.named, {*batch.columns, *batch.extra}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        default_kept = False
        for parameter in self.parameters:
            name, has_default = parameter.name, parameter.default is not parameter.empty
            own_default = self.foreign and has_default and name in RESERVED and name not in given
            if unnamed and (self.foreign or name not in RESERVED):
                value = unnamed.pop(0)
            elif name in named and not own_default:
                value = named[name]
            elif has_default:
                default_kept = True
                continue
            else:
                raise ValueError(self._missing(name, batch))
            if default_kept or parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        if self.variadic and not self.parameters:
            args, kwargs = unnamed, {key: c for key, c in batch.columns.items() if isinstance(key, str)}
        return tuple(args), kwargs

    def _missing(self, name: str, batch: Batch) -> str:
        if name in RESERVED:
            return f"{self.owner} asks for '{name}', which is not known for this data: pass it with fit(arguments=...)"
        columns = [str(key) for key in batch.columns]
        have = ", ".join(columns) or "none"
        return (
            f"{self.owner} asks for '{name}', and the data has no such column (columns: {have}; always available: n, "
            f"total, index){did_you_mean(name, columns)}: rename the parameter, give it a default, or add the column"
        )


def unwrap_program(function: Any) -> tuple[Any, int, dict[str, Any]]:
    """The function inside Pyro's handlers, decorators, modules, partials and bound methods.

    Args:
        function: a model or guide.

    Returns:
        The innermost function, how many of its first arguments are bound already, and those bound by name.
    """
    bound, keywords = 0, dict[str, Any]()
    while True:
        if isinstance(function, nn.Module):
            function = function.forward
        elif isinstance(function, functools.partial) and getattr(function.func, "_in_own_store", False):
            function = function.func.__wrapped__  # type: ignore[attr-defined]
        elif isinstance(function, functools.partial) and function.func is _context_wrap:  # (handler, function, self)
            bound += len(function.args) - 2
            keywords = {**function.keywords, **keywords}
            function = function.args[1]
        elif isinstance(function, _bound_partial):  # around such a partial, whose arguments it shows as its own
            function = function.func
        elif isinstance(function, functools.partial):
            bound += len(function.args)
            keywords = {**function.keywords, **keywords}
            function = function.func
        elif inspect.ismethod(function):
            bound += 1
            function = function.__func__
        elif getattr(function, "__wrapped__", None) is not None:
            function = function.__wrapped__
        else:
            return function, bound, keywords


def _parameters(function: Any) -> list[inspect.Parameter]:
    """The parameters of a program that are not bound already; those bound by name may be given again, by name."""
    inner, bound, keywords = unwrap_program(function)
    parameters = list(inspect.signature(inner).parameters.values())[bound:]
    by_name = next((i for i, p in enumerate(parameters) if p.name in keywords), len(parameters))
    return parameters[:by_name] + [
        p.replace(default=keywords.get(p.name, p.default), kind=p.KEYWORD_ONLY) if p.kind in _NAMED else p
        for p in parameters[by_name:]
    ]
