"""What a story was trained on: its columns, the rows of a batch and of the training set, and the observed sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyrogen.story.arguments import Batch


@dataclass(frozen=True)
class Spec:
    """The shape and type of a column.

    Args:
        shape: of one row.
        dtype: of the values.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def filled(self, n: int, value: int) -> Tensor:
        """A constant column.

        Args:
            n: number of rows.
            value: of every element.

        Returns:
            The column, (n, *shape).
        """
        return torch.full((n, *self.shape), value, dtype=self.dtype)


@dataclass(frozen=True)
class TrainingSpec:
    """What a story was trained on.

    Args:
        columns: the columns that it asked for, by name, or by position where the data came without names.
        n: rows in a training batch.
        total: rows in the training set; None where that is not known.
        plate: name of the data plate; None where there is none.
        sites: names of the observed sites.
        extra: further arguments by name; none by default.
        checksums: of the columns of the training set, by name or position as text; none where they are not known.
    """

    columns: Mapping[str | int, Spec]
    n: int
    total: int | None
    plate: str | None
    sites: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    checksums: Mapping[str, int] = field(default_factory=dict)

    def placeholder(self, n: int | None = None, value: int = 0, given: Mapping[str | int, Any] | None = None) -> Batch:
        """A batch of constant columns in place of data.

        Args:
            n: number of rows; None, the default, takes those of a training batch.
            value: of every element, 0 by default.
            given: columns (n, ...) to put in place of constant ones; none by default.

        Returns:
            The batch.
        """
        n = self.n if n is None else n
        columns: dict[str | int, Any] = {key: spec.filled(n, value) for key, spec in self.columns.items()}
        return Batch({**columns, **(given or {})}, n, self.total or n, torch.arange(n), self.extra)
