"""Draws of a story's latents and data with their log densities, as named arrays of one chain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.diagnostics.core.datatree import DrawArrays
from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.log_densities import LogDensities, log_prob_by_row
from pyrogen.diagnostics.core.program_structure import ProgramStructure
from pyrogen.diagnostics.core.row_blocks import analyze_row_blocks
from pyrogen.diagnostics.core.site_values import deterministic_sites
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, Story, inside, latent_sites
from pyrogen.story.observations import observes


def collect_draws(
    story: Story, batch: Batch, wanted: Collection[str], num_samples: int, predictive: bool = False
) -> DrawArrays:
    """Draws of one chain.

    Args:
        story: the story, within an `evaluation_context`.
        batch: the rows.
        wanted: groups of `GROUPS`.
        num_samples: number of draws.
        predictive: whether observed columns may be left out; False by default.

    Returns:
        The wanted groups, as far as the story has them.
    """
    blocks = draw_row_blocks(story, batch, wanted, num_samples, predictive=predictive)
    arrays = next(blocks)
    for block in blocks:
        arrays.concatenate_rows(block)
    return arrays


def draw_row_blocks(
    story: Story,
    batch: Batch,
    wanted: Collection[str],
    num_samples: int,
    draws_in_memory: int = 1,
    predictive: bool = False,
) -> Iterator[DrawArrays]:
    """Draws of one chain, some rows at a time.

    Args:
        story: the story, within an `evaluation_context`.
        batch: the rows.
        wanted: groups of `GROUPS`.
        num_samples: number of draws.
        draws_in_memory: see `analyze_row_blocks`; 1 by default.
        predictive: see `analyze_row_blocks`; False by default.

    Yields:
        The wanted groups for each block of rows, as far as the story has them.
    """
    for structure in analyze_row_blocks(story, batch, num_samples, draws_in_memory, predictive):
        rows = "data" if structure.plate is None else structure.plate.name.replace("/", ".")
        yield _draw_block(story, structure, DrawArrays(num_samples, wanted, rows))


def joint_log_weights(arrays: DrawArrays) -> Array | None:
    """Log weights of all data and latents together, log p(x, z) - log q(z).

    Args:
        arrays: draws with the group `sample_stats`.

    Returns:
        (S, 1); None where the guide does not draw every latent, or every latent belongs to a datum.
    """
    if "sample_stats" not in arrays.groups:
        return None
    lp, log_q = (arrays.groups["sample_stats"][name].values[0].astype(np.float64) for name in ("lp", "log_q"))
    return (lp - log_q)[:, None]


def _draw_block(story: Story, structure: ProgramStructure, arrays: DrawArrays) -> DrawArrays:
    """Fill the arrays with the draws of one block of rows."""
    parts: dict[tuple[str, ...], Callable[[DrawArrays, ProgramStructure, int, Any, Any], None]] = {}
    if structure.guide_is_complete:
        parts[("posterior",)] = _add_posterior
        if structure.has_densities:
            parts[("log_likelihood", "log_prior", "importance", "sample_stats")] = _add_log_densities
    if "sample" not in story.unsupported:
        if structure.guide_is_complete:
            parts[("posterior_predictive",)] = _add_predictive
        parts[("prior", "prior_predictive")] = _add_prior
    chosen = [part for groups, part in parts.items() if set(groups) & set(arrays.wanted)]
    for start in range(0, arrays.num_draws if chosen else 1, structure.draws_per_run):
        guide, model = structure.run()
        for part in chosen:
            part(arrays, structure, start, guide, model)
    arrays.check_complete()
    arrays.shared_terms, arrays.undivided = structure.shared_terms, structure.undivided
    _add_constants(arrays, story, structure, model)
    return arrays


def _add_posterior(arrays: DrawArrays, structure: ProgramStructure, start: int, guide: Any, model: Any) -> None:
    for name, site in latent_sites(model.nodes.values()).items():  # of this draw: sites may come and go
        if name in guide.nodes:
            arrays.add_draws("posterior", name, start, *structure.draws_of(site))
    for name, site in deterministic_sites(model).items():
        # What may depend on a latent that is summed out has no value in this draw.
        if not (structure.summed_out and structure.plate is not None and inside(site, structure.plate.name)):
            arrays.add_draws("posterior", name, start, *structure.draws_of(site))


def _add_predictive(arrays: DrawArrays, structure: ProgramStructure, start: int, guide: Any, model: Any) -> None:
    trace = structure.trace_predictive(guide)
    for name in structure.observed:
        arrays.add_draws("posterior_predictive", name, start, *structure.draws_of(trace.nodes[name]))


def _add_prior(arrays: DrawArrays, structure: ProgramStructure, start: int, guide: Any, model: Any) -> None:
    trace = structure.trace_predictive()
    for name, site in {**latent_sites(trace.nodes.values()), **deterministic_sites(trace)}.items():
        group = "prior_predictive" if name in structure.observed else "prior"
        arrays.add_draws(group, name, start, *structure.draws_of(site))


def _add_log_densities(arrays: DrawArrays, structure: ProgramStructure, start: int, guide: Any, model: Any) -> None:
    densities, plate = LogDensities.of_traces(structure, guide, model), structure.plate
    dims: list[str | None] = [] if plate is None else [plate.name]
    for name, value in (densities.log_likelihood if structure.undivided is None else {}).items():
        arrays.add_draws("log_likelihood", name, start, structure.split_draws(value, dims), dims)
    for name in (name for name in structure.latents if name in model.nodes):  # sites may come and go
        site = model.nodes[name]
        if plate is not None and inside(site, plate.name):
            value = structure.split_draws(log_prob_by_row(site["log_prob"], plate), dims)
            arrays.add_draws("log_prior", name, start, value, dims)
        else:
            arrays.add_draws("log_prior", name, start, torch.as_tensor(site["log_prob"]).sum()[None], [])
    if structure.local:
        # Each row has its share of a factor outside the plate.
        log_p = densities.log_p + densities.shared_log_p / plate.size
        log_q = densities.log_q + densities.shared_log_q / plate.size
        for name, value in {"log_p": log_p, "log_q": log_q, "log_weight": log_p - log_q}.items():
            arrays.add_draws("importance", name, start, structure.split_draws(value, dims), dims)
    else:
        lp, log_q = densities.log_p.sum() + densities.shared_log_p, densities.log_q.sum() + densities.shared_log_q
        arrays.add_draws("sample_stats", "lp", start, lp[None], [])
        arrays.add_draws("sample_stats", "log_q", start, log_q[None], [])


def _add_constants(arrays: DrawArrays, story: Story, structure: ProgramStructure, model: Any) -> None:
    again = structure.run()[1] if "observed_data" in arrays.wanted else model
    for name in (name for name in structure.observed if name not in structure.left_out):
        if not torch.equal(*(torch.as_tensor(trace.nodes[name]["value"]) for trace in (model, again))):
            continue  # the difference of data to something drawn
        values, dims = structure.draws_of(model.nodes[name])
        arrays.add_constant("observed_data", name, values[0], dims)
    for key, column in structure.batch.columns.items():
        if isinstance(column, Tensor) and not observes(model, structure.observed, key, column):
            name = _column_name(story, key)
            name = f"{name}_column" if name == arrays.rows else name
            values = column[: structure.batch.n // structure.draws_per_run]
            arrays.add_constant("constant_data", name, values, [arrays.rows, *[None] * (column.dim() - 1)])


def _column_name(story: Story, key: str | int) -> str:
    """The name of a column; of one without, that of the model's parameter that it binds to."""
    if isinstance(key, str):
        return key
    names = Program(story).signatures[0].positions
    return names[key] if key < len(names) else f"column_{key}"
