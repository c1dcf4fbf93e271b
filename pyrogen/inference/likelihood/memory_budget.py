"""How much memory a program takes for each datum, found by running it on a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.program import isolated_run
from pyrogen.story import Batch, Story

__all__ = ["max_rows", "pieces", "rows_held"]

ELEMENTS = 2**22
"""Numbers in the largest tensor that a run may make: 16 MiB of float32; what it holds is some ten times that."""
_FEW, _MORE = 2, 4
"""Rows of the two runs that tell how tensors grow with the rows."""
_LEAST = 256
"""Numbers that a row counts for at least: some ten thousand rows at once are as fast as any more."""


def rows_held(batch: Batch) -> int:
    """How many rows, or repetitions of rows, may be held at once by their columns; at least 1."""
    size = max((c[:1].nelement() for c in batch.columns.values() if isinstance(c, Tensor)), default=1)
    return max(1, ELEMENTS // max(size, _LEAST))


def max_rows(story: Story, run: Callable[[Batch], Any], batch: Batch) -> int:
    """How many rows, or repetitions of rows, `run` may take at once; at least 1.

    Tensors that grow with the rows count, weights do not. A program that takes none but all of its rows is judged by
    its columns alone, and so is an AutoGuide, which the first rows that it sees set up.

    Args:
        story: whose run it is, at home.
        run: what will be run, on batches.
        batch: all rows.
    """
    if is_auto(story):
        return rows_held(batch)
    try:
        few, more = (_made(story, run, _some(batch, n)) for n in (_FEW, _MORE))
    except Exception:  # what is wrong with the program is said where it is run
        return rows_held(batch)
    if len(few) == len(more):
        size = max(((b - a) // (_MORE - _FEW) for a, b in zip(few, more, strict=True)), default=0)
    else:  # a program that goes another way for more rows: what it made for fewer as well are weights
        size = max(set(more) - set(few), default=0) // _MORE
    return max(1, min(rows_held(batch), ELEMENTS // max(size, _LEAST)))


def pieces(story: Story, run: Callable[[Batch], Any], batch: Batch, times: int = 1) -> Iterator[Batch]:
    """The batch some rows at a time, so that a run on `times` as many takes bounded memory."""
    rows = max(1, max_rows(story, run, batch) // times)
    return (batch.rows(start, start + rows) for start in range(0, batch.n, rows))


def _some(batch: Batch, n: int) -> Batch:
    return batch.rows(0, n) if batch.n >= _MORE else batch.rows(0, 1).repeated(n)


def _made(story: Story, run: Callable[[Batch], Any], rows: Batch) -> list[int]:
    """How many numbers each operation of a run made, at most in one tensor."""
    with isolated_run(story), _Made() as met:
        run(rows)
    return met.sizes


class _Made(TorchDispatchMode):
    """Notes the size of the largest tensor that each operation makes; a view makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        given = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if _strided(leaf)}
        made = [leaf for leaf in tree_leaves(out) if _strided(leaf) and _memory(leaf) not in given]
        self.sizes.append(max((leaf.untyped_storage().nbytes() // leaf.element_size() for leaf in made), default=0))
        return out


def _strided(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout == torch.strided


def _memory(leaf: Tensor) -> int:
    return leaf.untyped_storage().data_ptr()
