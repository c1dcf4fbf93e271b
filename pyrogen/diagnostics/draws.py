"""The draws of one chain: which groups a story has, and what one draw puts into each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.anatomy import Anatomy, deterministic_sites, examine
from pyrogen.diagnostics.densities import Densities
from pyrogen.diagnostics.shelf import Shelf
from pyrogen.inference.doors import is_auto
from pyrogen.inference.predict import observes
from pyrogen.inference.program import Program, probed
from pyrogen.story import Batch, Story, inside, latent_sites
from pyrogen.story.draw import Released

__all__ = ["ROWS", "collect"]

ELEMENTS = 2**22
"""Elements of a column that one run may hold where rows can be taken a few at a time."""

ROWS = "data"
"""Name of the rows' dimension where no plate names it."""


def collect(story: Story, batch: Batch, wanted: Collection[str], num_samples: int) -> tuple[Shelf, str]:
    """The wanted groups, as far as the story has them, and the name of the rows' dimension.

    The story is at home and predicting.
    """
    shelves = []
    for anatomy in _plan(story, batch, num_samples):
        rows = ROWS if anatomy.plate is None else anatomy.plate.name.replace("/", ".")
        shelves.append(_collect(story, anatomy, rows, wanted, num_samples))
    shelf = shelves[0]
    for other in shelves[1:]:
        shelf.beside(other, rows)
    return shelf, rows


def _plan(story: Story, batch: Batch, num_samples: int) -> list[Anatomy]:
    """Where every latent belongs to a row: many draws in a run on repeated rows, a few rows at a time; else all."""
    size = max((c[:1].nelement() for c in batch.columns.values() if isinstance(c, Tensor)), default=1)
    budget = max(1, ELEMENTS // max(size, 256))
    n = min(batch.n, budget)
    times = min(num_samples, budget // n)
    pieces = [batch.rows(start, start + n) for start in range(0, batch.n, n)]
    if len(pieces) == times == 1 or is_auto(story):
        return [examine(story, batch)]
    with probed(story):
        known = len(story.trainable())
        try:
            plan = [examine(story, piece, times) for piece in pieces]
        except (RuntimeError, ValueError, IndexError):
            plan = []  # a program that is wrong, and not only fixed in its rows, says so below
        # Parameters that are made by a first run may have one entry for each row.
        free = len(story.trainable()) == known and all(a.local and a.plate.size == a.batch.n for a in plan)
    return plan if plan and free else [examine(story, batch)]


def _collect(story: Story, anatomy: Anatomy, rows: str, wanted: Collection[str], num_samples: int) -> Shelf:
    shelf = Shelf(num_samples, wanted)
    parts: dict[tuple[str, ...], Callable[[Shelf, Anatomy, int, Any, Any], None]] = {}
    if anatomy.guided:
        parts[("posterior",)] = _posterior
        parts[("log_likelihood", "importance", "sample_stats")] = _densities
    if "sample" not in story.without:
        parts[("posterior_predictive",)] = _predictive
        parts[("prior", "prior_predictive")] = _prior
    chosen = [part for groups, part in parts.items() if set(groups) & set(wanted)]
    for start in range(0, num_samples if chosen else 1, anatomy.times):
        guide: Any = poutine.trace(anatomy.guide).get_trace(anatomy.batch)
        model: Any = poutine.trace(poutine.replay(anatomy.model, trace=guide)).get_trace(anatomy.batch)
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
        trace = _new_data(anatomy, poutine.replay(anatomy.model, trace=guide))
        for name in anatomy.observed:
            shelf.put("posterior_predictive", name, start, *anatomy.draws(trace.nodes[name]))


def _prior(shelf: Shelf, anatomy: Anatomy, start: int, guide: Any, model: Any) -> None:
    trace = _new_data(anatomy, anatomy.model)
    for name, site in {**latent_sites(trace.nodes.values()), **deterministic_sites(trace)}.items():
        group = "prior_predictive" if name in anatomy.observed else "prior"
        shelf.put(group, name, start, *anatomy.draws(site))


def _new_data(anatomy: Anatomy, model: Callable[[Batch], Any]) -> Any:
    if anatomy.blank is not None:
        return poutine.trace(model).get_trace(anatomy.blank)
    return poutine.trace(Released(anatomy.observed)(model)).get_trace(anatomy.batch)


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
