"""What is known of a foreign program: how a fresh pair is made, on what it trains, and what its answers must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor

Pair = tuple[Callable[..., Any], Callable[..., Any]]
Likelihood = Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Tensor]]


@dataclass(frozen=True)
class Foreign:
    """A Pyro program as a stranger writes it.

    Args:
        name: in the table.
        make: a fresh model and guide.
        data: columns by name, or a tuple of them; None: the program takes none.
        plate: name of the plate that holds the rows; None: the observed site is one event, or there is none.
        rows: number that losses per datum are divided by; None: the length of the columns.
        objective: makes the ELBO.
        arguments: further arguments by name.
        given: columns that `sample` is told.
        refuses: by operation, a regular expression of the reason that must be told.
        likelihood: log p(rows given latents) by observed site, where it is no site's log density: latents summed out,
            factors.
        rounds: what is kept fixed in turn, "guide" or "model", each for a run of its own; one run of all by default.
        settings: of Pyro, by name.
    """

    name: str
    make: Callable[[], Pair]
    data: Any
    plate: str | None = "data"
    rows: int | None = None
    objective: Callable[[], Any] = Trace_ELBO
    arguments: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    refuses: Mapping[str, str] = field(default_factory=dict)
    likelihood: Likelihood | None = None
    rounds: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def pair(self) -> Pair:
        """A fresh model and guide, the same each time."""
        pyro.set_rng_seed(7)
        return self.make()

    def call(self, n: int | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments of model and guide, on the first n rows where n is given."""
        named = self.data if isinstance(self.data, dict) else {}
        unnamed = self.data if isinstance(self.data, tuple) else ()
        rows = slice(n)
        args = tuple(column[rows] for column in unnamed)
        return args, {**{key: column[rows] for key, column in named.items()}, **self.arguments}

    @property
    def size(self) -> int:
        """Number of data."""
        columns = self.data.values() if isinstance(self.data, dict) else self.data
        return self.rows or len(next(iter(columns)))


def enum_elbo(nesting: int) -> Callable[[], Any]:
    """Makes an ELBO that sums out what is marked."""
    return lambda: TraceEnum_ELBO(max_plate_nesting=nesting)


def generator(seed: int) -> torch.Generator:
    """A source of data."""
    return torch.Generator().manual_seed(seed)
