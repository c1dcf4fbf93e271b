"""Rows of a data set: a random choice, some by number, and blocks that a program runs on at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pyrogen.diagnostics.core.program_structure import ProgramStructure, analyze_program
from pyrogen.inference.likelihood.marginal_likelihood import log_weight_run
from pyrogen.inference.likelihood.memory_budget import max_rows, max_rows_in_memory
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.training_rows import other_columns
from pyrogen.story import Batch, Story


def analyze_row_blocks(
    story: Story, batch: Batch, num_samples: int, draws_in_memory: int = 1, predictive: bool = False
) -> Iterator[ProgramStructure]:
    """The structure of a program on some rows at a time.

    Where every latent belongs to a row, blocks are as large as memory allows, and one run makes several draws on
    repeated rows. Else there is one block of all rows, and one draw in a run.

    Args:
        story: the story, within an `evaluation_context`.
        batch: the rows.
        num_samples: number of draws that will be made.
        draws_in_memory: number of draws of a block that the caller holds at once, which bounds its rows; 1 by default.
        predictive: whether observed columns may be left out; False by default.

    Yields:
        The structure on each block of rows.
    """
    budget = max_rows(story, log_weight_run(Program(story)), batch)
    n = min(batch.n, budget, max(1, max_rows_in_memory(batch) // draws_in_memory))
    draws = min(num_samples, budget // n)
    if (n == batch.n and draws == 1) or not accepts_any_rows(story, batch.rows(0, n), draws, predictive):
        yield analyze_program(story, batch, 1, predictive)
        return
    for start in range(0, batch.n, n):
        yield analyze_program(story, batch.rows(start, start + n), draws, predictive)


def random_rows(batch: Batch, count: int) -> Batch:
    """A random choice of rows without replacement.

    Args:
        batch: the rows.
        count: number of rows to choose.

    Returns:
        The chosen rows; the batch itself where it has no more.
    """
    return batch if batch.n <= count else select_rows(batch, torch.randperm(batch.n)[:count])


def select_rows(batch: Batch, rows: Tensor) -> Batch:
    """Rows of a batch by number.

    Args:
        batch: the rows.
        rows: (m,) int64, numbers of rows; they may repeat.

    Returns:
        The m rows.
    """
    return replace(batch.map(lambda column: column[rows.to(column.device)]), n=len(rows))


def accepts_any_rows(story: Story, rows: Batch, repeats: int, predictive: bool = False) -> bool:
    """Whether a program runs on repeated rows, each of which has latents of its own.

    An AutoGuide does not: its latents are those of the training rows.

    Args:
        story: the story, within an `evaluation_context`.
        rows: some rows.
        repeats: number of copies of each.
        predictive: whether observed columns may be left out; False by default.

    Returns:
        Whether it does. A program that fails for another reason does not, and fails again when it is run on all rows.
    """
    if is_auto(story):
        return False
    with isolated_run(story):
        known = len(story.trainable())
        try:
            structure = analyze_program(story, rows, repeats, predictive)
        except Exception:
            return False
        # Parameters that are made by a first run may have one entry for each row.
        return len(story.trainable()) == known and structure.local and structure.plate.size == structure.batch.n


def require_training_rows(story: Story, batch: Batch, shared: str = "latents") -> None:
    """Check that the posterior of latents that data share is given all training data.

    Args:
        story: the story.
        batch: the rows.
        shared: what data share, for the message; "latents" by default.

    Raises:
        ValueError: the rows are not the training data.
    """
    if batch.n != batch.total:
        raise ValueError(
            f"{story.name}: data share {shared}, whose posterior is given the {batch.total} rows of the training data, "
            f"got {batch.n} rows: pass the training data"
        )
    if other := other_columns(story, batch):
        raise ValueError(
            f"{story.name}: data share {shared}, whose posterior is given the training data, and column '{other[0]}' "
            "is another: pass the training data"
        )
