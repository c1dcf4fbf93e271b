"""`pyrogen sample --begin`: data that are given in part, completed."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import typer
from torch import Tensor

from pyrogen.cli.data_protocol import reload_data
from pyrogen.data import as_symbols
from pyrogen.inference import Fit


def complete_data(run: Fit, begin: str, given: dict[str, Tensor], n: int) -> Tensor:
    """Draw data whose first part is given.

    Args:
        run: a run of a story that draws its elements in order.
        begin: a number between 0 and 1, that part of the first test data; else a text, the same for all.
        given: columns to condition on; replaced by those of the test data where these are completed.
        n: number of data.

    Returns:
        The data (n, *event_shape).

    Raises:
        ValueError: the story draws all elements at once, or there are fewer than `n` test data.
        typer.BadParameter: `begin` is a number that is not between 0 and 1.
    """
    story: Any = run.story
    if not hasattr(story, "complete"):
        raise ValueError(f"{story.name} cannot complete data: only autoregressive stories draw element by element")
    part = None
    with contextlib.suppress(ValueError):
        part = float(begin)
    if part is None:
        return _complete_text(run, begin, given, n)
    if not 0 < part < 1:
        raise typer.BadParameter(f"expected a number between 0 and 1, or a text, got {begin}", param_hint="'--begin'")
    test = reload_data(story, run.config, None, None).test
    if n > test.rows:
        raise ValueError(f"--begin {begin}: there are {test.rows:,} test data, fewer than -n {n}")
    columns = test.batch(torch.arange(n))
    given.update({name: columns[name].to(story.device) for name in given if name in columns})
    x: Tensor = story.complete(story.beginning(columns["x"], part), **given)
    return x


def _complete_text(run: Fit, begin: str, given: dict[str, Tensor], n: int) -> Tensor:
    alphabet = (run.config["data"]["protocol"] or {}).get("alphabet")
    if alphabet is None:
        raise ValueError(f"--begin {begin}: expected a number between 0 and 1, as the run was not trained on text")
    story: Any = run.story
    given.pop("length", None)  # a text is completed to the full length
    x: Tensor = story.complete(as_symbols(begin, alphabet).expand(n, -1), **given)
    return x
