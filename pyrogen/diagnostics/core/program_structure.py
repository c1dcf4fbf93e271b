"""Plates and sites of a program, read off one run of guide and model; and which diagnostics it admits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyro
from pyro import poutine
from pyro.ops.provenance import get_provenance, track_provenance
from torch import Tensor

from pyrogen.diagnostics.core.site_values import value_and_dims
from pyrogen.inference.prediction.responses import blank_batch, left_out_sites, response_sites
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.row_log_weights import takes_given_rows
from pyrogen.inference.program.training_rows import check_rows
from pyrogen.story import (
    Batch,
    Story,
    Unobserved,
    data_plate,
    enumerated,
    factor_sites,
    inside,
    latent_sites,
    observed_sites,
    outside,
)
from pyrogen.story.observations import observes


@dataclass(frozen=True)
class ProgramStructure:
    """Model and guide with the sites and plates that one run of them on a batch shows.

    Args:
        model: function of the batch.
        guide: function of the batch; it draws nothing where the story has no guide.
        batch: the rows, each `draws_per_run` times.
        draws_per_run: number of draws of every row that one run makes.
        blank_batch: the batch without its observed columns, from which the model draws them; None where it cannot.
        plate: the frame of the vectorized data plate, or None.
        observed: names of the observed sites, and of those that observe data which were left out here.
        left_out: names of the latter.
        latents: names of the model's latents that the guide draws.
        summed_out: names of the latents marked for enumeration that the guide leaves out.
        row_terms: names of the sites and factors in the data plate that observe, each with a term for every row.
        shared_terms: names of the sites and factors that observe outside of it.
        local: every latent of model and guide sits in the data plate, and so do all terms.
        guide_is_complete: the guide draws every latent but those summed out.
        has_densities: log densities of a draw can be computed.
        undivided: name of a factor outside the data plate that depends on the data, so that no row has its share of
            the likelihood; None where there is none.
    """

    model: Callable[[Batch], Any]
    guide: Callable[[Batch], Any]
    batch: Batch
    draws_per_run: int
    blank_batch: Batch | None
    plate: Any
    observed: tuple[str, ...]
    left_out: tuple[str, ...]
    latents: tuple[str, ...]
    summed_out: tuple[str, ...]
    row_terms: tuple[str, ...]
    shared_terms: tuple[str, ...]
    local: bool
    guide_is_complete: bool
    has_densities: bool
    undivided: str | None

    def run(self) -> tuple[Any, Any]:
        """Draw latents from the guide and replay the model with them.

        Returns:
            The traces of guide and model.

        Raises:
            ValueError: a site is observed in some runs alone.
        """
        guide = poutine.trace(self.guide).get_trace(self.batch)
        model = poutine.trace(poutine.replay(self.model, trace=guide)).get_trace(self.batch)
        changed = {name for name in self.observed if name not in model.nodes}
        changed |= {name for name in observed_sites(model.nodes.values()) if name not in self.observed}
        if changed:
            raise ValueError(
                f"site '{min(changed)}' is not observed in every draw, so its draws make no array: write it with a "
                "mask in place of sites that come and go"
            )
        return guide, model

    def draws_of(self, site: Any) -> tuple[Tensor, list[str | None]]:
        """A site's value, draw by draw.

        Args:
            site: of a trace of this program.

        Returns:
            The value (draws_per_run, ...), and names of the dimensions after the first, None for those of the event.
        """
        value, dims = value_and_dims(site)
        return self.split_draws(value, dims), dims

    def split_draws(self, value: Tensor, dims: list[str | None]) -> Tensor:
        """Take the draws of a run out of the data plate's dimension.

        Args:
            value: of any shape.
            dims: for each of its dimensions the name of its plate, or None.

        Returns:
            (draws_per_run, ...).
        """
        if self.draws_per_run == 1:
            return value[None]
        if self.plate.name not in dims:
            return value.expand(self.draws_per_run, *value.shape)
        axis = dims.index(self.plate.name)
        return value.unflatten(axis, (self.draws_per_run, -1)).movedim(axis, 0)

    def trace_predictive(self, guide: Any = None) -> Any:
        """Run the model with its observed sites drawn.

        Args:
            guide: a trace of the guide, whose latents are taken; None, the default, draws them from the model.

        Returns:
            The trace of the model.
        """
        model = self.model if guide is None else poutine.replay(self.model, trace=guide)
        if self.blank_batch is not None:
            return poutine.trace(model).get_trace(self.blank_batch)
        return poutine.trace(Unobserved(self.observed)(model)).get_trace(self.batch)

    def trace_prior(self) -> Any:
        """Run the model with all of its sites drawn, among them the latents that the guide draws.

        Returns:
            The trace of the model.

        Raises:
            ValueError: it draws other latents than the guide, as one level of a diffusion, which draws without sites.
        """
        trace = self.trace_predictive()
        if missing := [name for name in self.latents if name not in trace.nodes]:
            raise ValueError(f"the model draws no '{missing[0]}' where it observes nothing: its prior has no such site")
        return trace

    def with_simulated(self, observed: Any, simulated: Any) -> Batch:
        """The batch with simulated values in its observed columns.

        Args:
            observed: a trace of the model on the batch.
            simulated: a trace of the model with its observed sites drawn.

        Returns:
            The batch; other columns are as they were.

        Raises:
            ValueError: an observed site is no column of the data.
        """
        columns, missing = dict(self.batch.columns), set(self.observed)
        for key, column in columns.items():
            site = next((name for name in self.observed if observes(observed, (name,), key, column)), None)
            if site is not None:
                missing.discard(site)
                columns[key] = simulated.nodes[site]["value"].reshape(column.shape).to(column.dtype)
        if missing:
            raise ValueError(
                f"site '{min(missing)}' observes no column of the data as it is, so simulated values of it cannot be "
                "passed to the guide: make it a column"
            )
        return replace(self.batch, columns=columns)


def analyze_program(story: Story, batch: Batch, draws_per_run: int = 1, predictive: bool = False) -> ProgramStructure:
    """Run guide and model once and read off their structure.

    Args:
        story: the story, within an `evaluation_context`.
        batch: the rows.
        draws_per_run: number of draws that one run makes, on repeated rows; 1 by default.
        predictive: whether observed columns may be left out; False by default.

    Returns:
        The structure.

    Raises:
        ValueError: the program chooses its own rows; or a site that training observed has no data here, and
            `predictive` is False.
    """
    program, batch = Program(story), batch.repeated(draws_per_run)
    run_guide = program.guide if "guide" not in story.unsupported else lambda batch: None
    guide = check_rows(program, poutine.trace(run_guide).get_trace(batch), batch)
    model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(batch)
    left_out = left_out_sites(program, model, guide.nodes)
    if not predictive:
        _require_all(story, left_out)
    plate = _rows_plate(story, model, batch, left_out)
    nodes = model.nodes.values()
    latents, drawn = latent_sites(nodes), latent_sites(guide.nodes.values())
    latents = {name: site for name, site in latents.items() if name not in left_out}
    summed_out = tuple(name for name, site in latents.items() if name not in drawn and enumerated(site))
    complete = all(name in drawn or name in summed_out for name in latents)
    shared = outside({**latents, **drawn}, plate.name if plate is not None else None)
    summable = not summed_out or (plate is not None and not set(summed_out) & set(shared))
    observed = response_sites(model, left_out)
    terms = {**{name: model.nodes[name] for name in observed if name not in left_out}, **factor_sites(nodes)}
    row_terms = tuple(name for name, site in terms.items() if plate is not None and inside(site, plate.name))
    shared_terms = tuple(name for name in terms if name not in row_terms)
    factors = [name for name in shared_terms if name not in observed and plate is not None]
    undivided = _factors_of_data(factors, poutine.replay(program.model, trace=model), batch)
    return ProgramStructure(
        model=program.model,
        guide=run_guide,
        batch=batch,
        draws_per_run=draws_per_run,
        blank_batch=blank_batch(program, batch, model, observed),
        plate=plate,
        observed=observed,
        left_out=left_out,
        latents=tuple(name for name in latents if name in drawn),
        summed_out=summed_out,
        row_terms=row_terms,
        shared_terms=shared_terms,
        local=plate is not None and not shared and not shared_terms,
        guide_is_complete=complete,
        has_densities=complete and summable and not left_out and "density" not in story.unsupported,
        undivided=undivided[0] if undivided else None,
    )


def _require_all(story: Story, left_out: tuple[str, ...]) -> None:
    if left_out:
        raise ValueError(
            f"{story.name}: site '{left_out[0]}' observes data, and these have no column for it: pass all columns of "
            "the training data"
        )


def _factors_of_data(names: list[str], model: Any, batch: Batch) -> list[str]:
    """Those factors whose value depends on a column, by following the tensors through a run; all where that fails."""
    if not names:
        return []
    known = frozenset({"data"})
    columns = {key: track_provenance(c, known) if isinstance(c, Tensor) else c for key, c in batch.columns.items()}
    try:
        with pyro.validation_enabled(False):
            nodes = poutine.trace(model).get_trace(replace(batch, columns=columns)).nodes
    except Exception:  # an operation that such tensors do not pass
        return names
    return [name for name in names if get_provenance(nodes[name]["fn"].log_factor)]


def _rows_plate(story: Story, model: Any, batch: Batch, left_out: tuple[str, ...]) -> Any:
    """The frame of the data plate; ValueError where the program does not run on the given rows."""
    plate = data_plate(model.nodes.values(), batch.n, left_out)
    if plate is None or plate.dim is None:
        return None
    if not takes_given_rows(model.nodes.get(plate.name), plate, batch):
        raise ValueError(
            f"{story.name}: plate '{plate.name}' chooses its own rows, unrelated to those given, so no draw belongs to "
            f'a row of the data: write `pyro.plate("{plate.name}", total, subsample=index)`'
        )
    return plate
