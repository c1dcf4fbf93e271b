"""The draws of one chain: which groups a story has, and what one draw puts into each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.core.draw_arrays import Shelf
from pyrogen.diagnostics.core.log_densities import Densities
from pyrogen.diagnostics.core.program_structure import Anatomy, deterministic_sites, examine
from pyrogen.inference.likelihood.marginal_likelihood import weighed
from pyrogen.inference.likelihood.memory_budget import max_rows, rows_held
from pyrogen.inference.prediction.predictive import observes
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.program import Program, isolated_run
from pyrogen.story import Batch, Story, inside, latent_sites
from pyrogen.story.sampling import Unobserved

__all__ = [
    "ROWS",
    "anatomies",
    "collect",
    "from_prior",
    "new_data",
    "shelved",
    "some_rows",
    "taken",
    "takes_any_rows",
    "with_new",
]

ROWS = "data"
"""Name of the rows' dimension where no plate names it."""


def collect(story: Story, batch: Batch, wanted: Collection[str], num_samples: int) -> tuple[Shelf, str]:
    """The wanted groups, as far as the story has them, and the name of the rows' dimension.

    The story is at home and predicting.
    """
    shelves = shelved(story, batch, wanted, num_samples)
    shelf, rows = next(shelves)
    for other, _ in shelves:
        shelf.beside(other, rows)
    return shelf, rows


def shelved(
    story: Story, batch: Batch, wanted: Collection[str], num_samples: int, held: int = 1
) -> Iterator[tuple[Shelf, str]]:
    """The wanted groups some rows at a time, with the name of the rows' dimension; `held`: see `anatomies`."""
    for anatomy in anatomies(story, batch, num_samples, held):
        rows = ROWS if anatomy.plate is None else anatomy.plate.name.replace("/", ".")
        yield _collect(story, anatomy, rows, wanted, num_samples), rows


def anatomies(story: Story, batch: Batch, num_samples: int, held: int = 1) -> Iterator[Anatomy]:
    """Where every latent belongs to a row: many draws in a run on repeated rows, a few rows at a time; else all.

    Args:
        story: the story, at home and predicting.
        batch: the rows.
        num_samples: draws that will be made.
        held: how many draws of some rows the caller holds at once, which bounds how many rows.
    """
    budget = max_rows(story, weighed(Program(story)), batch)
    n = min(batch.n, budget, max(1, rows_held(batch) // held))
    times = min(num_samples, budget // n)
    if (n == batch.n and times == 1) or not takes_any_rows(story, batch.rows(0, n), times):
        yield examine(story, batch)
        return
    for start in range(0, batch.n, n):
        yield examine(story, batch.rows(start, start + n), times)


def some_rows(batch: Batch, rows: int) -> Batch:
    """A random choice of rows, if there are more."""
    if batch.n <= rows:
        return batch
    return taken(batch, torch.randperm(batch.n)[:rows])


def taken(batch: Batch, rows: Tensor) -> Batch:
    """These rows of a batch, some of them perhaps several times."""
    return replace(batch.map(lambda column: column[rows.to(column.device)]), n=len(rows))


def takes_any_rows(story: Story, rows: Batch, times: int) -> bool:
    """Whether the program takes `times` as many rows as these, each of which has latents of its own.

    An AutoGuide does not: its latents are those of the training rows.
    """
    if is_auto(story):
        return False
    with isolated_run(story):
        known = len(story.trainable())
        try:
            anatomy = examine(story, rows, times)
        except (RuntimeError, ValueError, IndexError):
            return False  # a program that is wrong, and not only fixed in its rows, says so when all rows are run
        # Parameters that are made by a first run may have one entry for each row.
        return len(story.trainable()) == known and anatomy.local and anatomy.plate.size == anatomy.batch.n


def _collect(story: Story, anatomy: Anatomy, rows: str, wanted: Collection[str], num_samples: int) -> Shelf:
    shelf = Shelf(num_samples, wanted)
    parts: dict[tuple[str, ...], Callable[[Shelf, Anatomy, int, Any, Any], None]] = {}
    if anatomy.guided:
        parts[("posterior",)] = _posterior
        parts[("log_likelihood", "importance", "sample_stats")] = _densities
    if "sample" not in story.unsupported:
        parts[("posterior_predictive",)] = _predictive
        parts[("prior", "prior_predictive")] = _prior
    chosen = [part for groups, part in parts.items() if set(groups) & set(wanted)]
    for start in range(0, num_samples if chosen else 1, anatomy.times):
        guide, model = anatomy.run()
        for part in chosen:
            part(shelf, anatomy, start, guide, model)
    shelf.check()
    _constants(shelf, story, anatomy, rows, model)
    return shelf


def _posterior(shelf: Shelf, anatomy: Anatomy, start: int, guide: Any, model: Any) -> None:
    for name in anatomy.latents:
        shelf.put("posterior", name, start, *anatomy.draws(model.nodes[name]))
    for name, site in deterministic_sites(model).items():
        # What may depend on a latent that is summed out has no value in this draw.
        if not (anatomy.summed and anatomy.plate is not None and inside(site, anatomy.plate.name)):
            shelf.put("posterior", name, start, *anatomy.draws(site))


def _predictive(shelf: Shelf, anatomy: Anatomy, start: int, guide: Any, model: Any) -> None:
    if anatomy.guided:
        trace = new_data(anatomy, poutine.replay(anatomy.model, trace=guide))
        for name in anatomy.observed:
            shelf.put("posterior_predictive", name, start, *anatomy.draws(trace.nodes[name]))


def _prior(shelf: Shelf, anatomy: Anatomy, start: int, guide: Any, model: Any) -> None:
    trace = new_data(anatomy, anatomy.model)
    for name, site in {**latent_sites(trace.nodes.values()), **deterministic_sites(trace)}.items():
        group = "prior_predictive" if name in anatomy.observed else "prior"
        shelf.put(group, name, start, *anatomy.draws(site))


def new_data(anatomy: Anatomy, model: Callable[[Batch], Any]) -> Any:
    """A trace of the model with its observed sites drawn."""
    if anatomy.blank is not None:
        return poutine.trace(model).get_trace(anatomy.blank)
    return poutine.trace(Unobserved(anatomy.observed)(model)).get_trace(anatomy.batch)


def from_prior(anatomy: Anatomy) -> Any:
    """A trace of the model with all of its sites drawn, those that the guide draws as well among them.

    Raises:
        ValueError: it draws others: one level of a diffusion goes down the chain by no site.
    """
    trace = new_data(anatomy, anatomy.model)
    if missing := [name for name in anatomy.latents if name not in trace.nodes]:
        raise ValueError(f"the model draws no '{missing[0]}' where it observes nothing: its prior cannot be held to it")
    return trace


def with_new(anatomy: Anatomy, observed: Any, simulated: Any) -> Batch:
    """The rows with what the model simulated in place of what it observes."""
    columns, left = dict(anatomy.batch.columns), set(anatomy.observed)
    for key, column in columns.items():
        told = [name for name in anatomy.observed if observes(observed, (name,), key, column)]
        if told:
            left.discard(told[0])
            columns[key] = simulated.nodes[told[0]]["value"].reshape(column.shape).to(column.dtype)
    if left:
        raise ValueError(
            f"site '{min(left)}' observes no column of the data as it is, so that the guide cannot be shown simulated "
            "values of it: make it a column"
        )
    return replace(anatomy.batch, columns=columns)


def _densities(shelf: Shelf, anatomy: Anatomy, start: int, guide: Any, model: Any) -> None:
    if not anatomy.dense:
        return
    found = Densities.of(anatomy, guide, model)
    dims: list[str | None] = [] if anatomy.plate is None else [anatomy.plate.name]
    for name, value in found.likelihood.items():
        shelf.put("log_likelihood", name, start, anatomy.split(value, dims), dims)
    if anatomy.local:
        # A factor outside the plate weighs on all rows alike.
        p, q = (r + s / anatomy.plate.size for r, s in ((found.p, found.shared_p), (found.q, found.shared_q)))
        for name, value in {"log_p": p, "log_q": q, "log_weight": p - q}.items():
            shelf.put("importance", name, start, anatomy.split(value, dims), dims)
    else:
        shelf.put("sample_stats", "lp", start, (found.p.sum() + found.shared_p)[None], [])
        shelf.put("sample_stats", "log_q", start, (found.q.sum() + found.shared_q)[None], [])


def _constants(shelf: Shelf, story: Story, anatomy: Anatomy, rows: str, model: Any) -> None:
    for name in anatomy.observed:
        values, dims = anatomy.draws(model.nodes[name])
        shelf.put_constant("observed_data", name, values[0], dims)
    for key, column in anatomy.batch.columns.items():
        if isinstance(column, Tensor) and not observes(model, anatomy.observed, key, column):
            name = _column_name(story, key)
            name = f"{name}_column" if name == rows else name
            dims = [rows, *[None] * (column.dim() - 1)]
            shelf.put_constant("constant_data", name, column[: anatomy.batch.n // anatomy.times], dims)


def _column_name(story: Story, key: str | int) -> str:
    if isinstance(key, str):
        return key
    names = Program(story).signatures[0].columns
    return names[key] if key < len(names) else f"column_{key}"
