"""`pyrogen sample --begin`: data that are given in part, drawn to their end."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from pyrogen.cli.data_protocol import rebuilt
from pyrogen.data import as_symbols
from pyrogen.inference import Fit

__all__ = ["completed"]


def completed(run: Fit, begin: str, told: dict[str, Tensor], n: int) -> Tensor:
    """New data that begin as they are told to.

    Args:
        run: of a story that draws its elements in order.
        begin: a number between 0 and 1, that part of the first test data; else a text, for all.
        told: columns to condition on; those of the test data themselves where it is they that are completed.
        n: how many.

    Raises:
        ValueError: the story draws all at once; no such part, or a text for what is none.
    """
    story: Any = run.story
    if not hasattr(story, "complete"):
        raise ValueError(f"{story.name} cannot go on from a part: only autoregressive stories draw element by element")
    part = None
    with contextlib.suppress(ValueError):
        part = float(begin)
    if part is None:
        return _of_text(run, begin, told, n)
    if not 0 < part < 1:
        raise ValueError(f"--begin {begin}: expected a number between 0 and 1, or a text")
    rows = rebuilt(story, run.config, None, None).test
    if n > rows.rows:
        raise ValueError(f"--begin {begin}: there are {rows.rows:,} test data, fewer than -n {n}")
    columns = rows.batch(torch.arange(n))
    told.update({name: columns[name].to(story.device) for name in told if name in columns})
    x: Tensor = story.complete(story.beginning(columns["x"], part), **told)
    return x


def _of_text(run: Fit, begin: str, told: dict[str, Tensor], n: int) -> Tensor:
    alphabet = (run.config["data"]["protocol"] or {}).get("alphabet")
    if alphabet is None:
        raise ValueError(f"--begin {begin}: expected a number between 0 and 1: the run was not trained on text")
    story: Any = run.story
    told.pop("length", None)  # what is begun goes on to the last place
    x: Tensor = story.complete(as_symbols(begin, alphabet).expand(n, -1), **told)
    return x
