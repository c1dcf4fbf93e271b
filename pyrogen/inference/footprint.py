"""How much memory a program takes for each datum, found by running it on a few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrogen.inference.program import probed
from pyrogen.story import Batch, Story

__all__ = ["rows_at_once", "rows_held"]

ELEMENTS = 2**22
"""Numbers in the largest tensor that a run may make: 16 MiB of float32; what it holds is some ten times that."""
_FEW = 2, 4
"""Rows of the two runs that tell how tensors grow with the rows."""
_LEAST = 256
"""Numbers that a row counts for at least: some ten thousand rows at once are as fast as any more."""


def rows_held(batch: Batch) -> int:
    """How many rows, or repetitions of rows, may be held at once by their columns; at least 1."""
    size = max((c[:1].nelement() for c in batch.columns.values() if isinstance(c, Tensor)), default=1)
    return max(1, ELEMENTS // max(size, _LEAST))


def rows_at_once(story: Story, run: Callable[[Batch], Any], batch: Batch) -> int:
    """How many rows, or repetitions of rows, `run` may take at once; at least 1.

    Tensors that grow with the rows count, weights do not. A program that takes none but all of its rows is judged by
    its columns alone.

    Args:
        story: whose run it is, at home.
        run: what will be run, on batches.
        batch: all rows.
    """
    if batch.n < _FEW[1]:
        return rows_held(batch)
    try:
        few, more = (_sizes(story, run, batch.rows(0, n)) for n in _FEW)
    except Exception:  # what is wrong with the program is said where it is run
        return rows_held(batch)
    if len(few) == len(more):
        size = max(((b - a) // (_FEW[1] - _FEW[0]) for a, b in zip(few, more, strict=True)), default=0)
    else:  # a program that goes another way for more rows: weights count as well
        size = max(more) // _FEW[1]
    return max(1, min(rows_held(batch), ELEMENTS // max(size, _LEAST)))


def _sizes(story: Story, run: Callable[[Batch], Any], rows: Batch) -> list[int]:
    with probed(story), _Sizes() as met:
        run(rows)
    return met.sizes


class _Sizes(TorchDispatchMode):
    """Notes how many numbers the memory of each operation's largest outcome holds; a view holds those it looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.sizes.append(max((t.untyped_storage().nbytes() // t.element_size() for t in made), default=0))
        return out
