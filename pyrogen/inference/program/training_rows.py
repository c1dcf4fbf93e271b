"""Rows that a guide was trained on, where it has latents of their own: those of other rows are not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.inference.batching.from_data import describe_columns
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, Story, latent_sites


def check_training_rows(program: Program, batch: Batch) -> None:
    """Run the guide and refuse rows that are not those of its latents; see `check_rows`.

    Args:
        program: the story's.
        batch: the rows.

    Raises:
        ValueError: as `check_rows`.
    """
    if other_columns(program.story, batch) and "guide" not in program.story.unsupported:
        with isolated_run(program.story):
            guide = poutine.trace(program.guide).get_trace(batch)
        check_rows(program, guide, batch)


def check_rows(program: Program, guide: Any, batch: Batch) -> Any:
    """Refuse a guide that draws latents of other rows than those given, as an AutoGuide of the training rows does.

    Args:
        program: the story's.
        guide: its guide's trace.
        batch: the rows.

    Returns:
        The guide's trace.

    Raises:
        ValueError: a latent of the guide has another number of rows, or its distribution belongs to rows with other
            values.
    """
    for name, site, frame in _latents_of_rows(program, guide):
        # An EasyGuide's plate does not know its size.
        size = frame.size if frame.size >= 0 else site["value"].shape[frame.dim - site["fn"].event_dim]
        if size != batch.n:
            raise ValueError(
                f"{program.story.name}: the guide draws '{name}' for its own {size} rows, got {batch.n} rows: "
                "pass the rows that it was trained on, or train a guide that computes it from the data"
            )
        other = other_columns(program.story, batch)
        if other and _ignores_rows(program, guide, batch, name, frame.dim):
            raise ValueError(
                f"{program.story.name}: the guide draws '{name}' for each of the {size} rows that it was trained on, "
                f"and column '{other[0]}' is not theirs: pass the rows that it was trained on, or train a guide that "
                "computes it from the data"
            )
    return guide


def check_validation_rows(program: Program, batch: Batch) -> None:
    """Refuse to validate a guide with latents of its training rows: other rows would be given theirs.

    Args:
        program: the story's, after some steps: before any, rows may have equal latents.
        batch: rows of the validation data.

    Raises:
        ValueError: it has such latents.
    """
    if "guide" in program.story.unsupported or batch.n < 2:
        return
    try:
        with isolated_run(program.story):
            guide = poutine.trace(program.guide).get_trace(batch)
    except Exception:  # validation fails alike, and reports it
        return
    for name, _, frame in _latents_of_rows(program, guide):
        if _ignores_rows(program, guide, batch, name, frame.dim):
            raise ValueError(
                f"{program.story.name}: the guide draws '{name}' for each training row, whatever the data are, and "
                "validation data are other rows: leave validation out, or train a guide that computes it from the data"
            )


def _latents_of_rows(program: Program, guide: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, site and data plate's frame of each latent of single rows that the guide draws."""
    plate = program.story.training_spec.plate if program.story.training_spec is not None else "data"
    for name, site in latent_sites(guide.nodes.values()).items():
        frame = next((frame for frame in site["cond_indep_stack"] if frame.name == plate), None)
        if not site["infer"].get("is_auxiliary") and frame is not None and frame.dim is not None:
            yield name, site, frame


def other_columns(story: Story, batch: Batch) -> list[str]:
    """Columns that differ from those of the training set, where there are as many rows.

    Args:
        story: whose training is known, or not.
        batch: the rows.

    Returns:
        Names of the columns whose checksums are others; none where the training data are not known.
    """
    spec = story.training_spec
    known = spec.checksums if spec is not None and spec.total == batch.n else {}
    given = {key: column for key, column in batch.columns.items() if str(key) in known and isinstance(column, Tensor)}
    return [key for key, column in describe_columns(given).items() if column["crc32"] != known[key]]


def _ignores_rows(program: Program, guide: Any, batch: Batch, name: str, dim: int) -> bool:
    """Whether a site of the guide has a distribution for each place, whatever row stands there."""
    turned = replace(batch.map(lambda column: column.flip(0)), index=batch.index)
    with isolated_run(program.story):
        other = poutine.trace(poutine.replay(program.guide, trace=guide)).get_trace(turned)
    value, fn, again = guide.nodes[name]["value"], guide.nodes[name]["fn"], other.nodes[name]["fn"]
    density, now = fn.log_prob(value), again.log_prob(value)  # type: ignore[attr-defined]
    by_other_rows = fn.log_prob(value.flip(dim - fn.event_dim)).flip(dim)
    return torch.equal(density, now) and not torch.equal(density, by_other_rows)
