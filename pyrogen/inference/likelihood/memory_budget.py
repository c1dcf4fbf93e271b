"""How many rows a program can take at once in bounded memory, from runs on a few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.story import Batch, Story

ELEMENTS = 2**22
"""Elements of the largest tensor that a run may allocate: 16 MiB of float32; all of its tensors together take some ten
times that."""
_FEW, _MORE = 2, 4
"""Rows of the two runs that show how tensors grow with the rows."""
_MIN_ELEMENTS_PER_ROW = 256
"""Some ten thousand rows at once are as fast as more."""


def max_rows_in_memory(batch: Batch) -> int:
    """How many rows, or repetitions of rows, fit the budget by the size of their columns.

    Args:
        batch: all rows.

    Returns:
        The number of rows, at least 1.
    """
    elements = max((c[:1].nelement() for c in batch.columns.values() if isinstance(c, Tensor)), default=1)
    return max(1, ELEMENTS // max(elements, _MIN_ELEMENTS_PER_ROW))


def max_rows(story: Story, run: Callable[[Batch], Any], batch: Batch) -> int:
    """How many rows, or repetitions of rows, a run may take at once.

    Tensors that grow with the rows count, parameters do not. A program that accepts only all of its rows is measured by
    its columns alone, and so is an AutoGuide, whose parameters are made for the first rows it is run on.

    Args:
        story: the story that runs, in its own parameter store.
        run: a run on some rows.
        batch: all rows.

    Returns:
        The number of rows, at least 1.
    """
    if is_auto(story):
        return max_rows_in_memory(batch)
    try:
        few, more = (_allocated(story, run, batch, n) for n in (_FEW, _MORE))
    except Exception:  # a fault of the program is reported when it is run
        return max_rows_in_memory(batch)
    if len(few) == len(more):
        elements = max(((b - a) // (_MORE - _FEW) for a, b in zip(few, more, strict=True)), default=0)
    else:  # other operations for more rows: sizes that both runs have are those of parameters
        elements = max(set(more) - set(few), default=0) // _MORE
    return max(1, min(max_rows_in_memory(batch), ELEMENTS // max(elements, _MIN_ELEMENTS_PER_ROW)))


def split_rows(story: Story, run: Callable[[Batch], Any], batch: Batch, repeats: int = 1) -> Iterator[Batch]:
    """Split a batch so that a run on each part takes bounded memory.

    Args:
        story: the story that runs, in its own parameter store.
        run: a run on some rows.
        batch: all rows.
        repeats: how often each row is repeated in a run; 1 by default.

    Returns:
        An iterator over batches of consecutive rows.
    """
    rows = max(1, max_rows(story, run, batch) // repeats)
    return (batch.rows(start, start + rows) for start in range(0, batch.n, rows))


def _allocated(story: Story, run: Callable[[Batch], Any], batch: Batch, n: int) -> list[int]:
    """Elements of the largest tensor that each operation of a run on n rows allocates."""
    rows = batch.rows(0, n) if batch.n >= _MORE else batch.rows(0, 1).repeated(n)
    with isolated_run(story), _AllocationRecorder() as recorder:
        run(rows)
    return recorder.sizes


class _AllocationRecorder(TorchDispatchMode):
    """Records the elements of the largest tensor that each operation allocates; views allocate none."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        inputs = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_dense(leaf)}
        storages = [(leaf.untyped_storage(), leaf.element_size()) for leaf in tree_leaves(out) if _is_dense(leaf)]
        new = [storage.nbytes() // size for storage, size in storages if storage.data_ptr() not in inputs]
        self.sizes.append(max(new, default=0))
        return out


def _is_dense(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout == torch.strided
