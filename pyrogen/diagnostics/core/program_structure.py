"""What a run of guide and model shows of a program: its plates, its sites, and which questions it can answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.inference.prediction.predictive import blank_batch
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.row_log_weights import takes_given_rows
from pyrogen.story import Batch, Story, data_plate, enumerated, latent_sites, observed_sites, outside

__all__ = ["Anatomy", "deterministic_sites", "examine", "laid_out"]

Runner = Callable[[Batch], Any]


@dataclass(frozen=True)
class Anatomy:
    """What one run of guide and model on a batch shows.

    Args:
        model, guide: functions of the batch.
        batch: the rows, each `times` times.
        times: draws that one run makes.
        blank: the batch without its observed columns, where the model then draws them; else None.
        plate: the frame of the vectorized data plate, or None.
        observed: the observed sites.
        latents: the model's latents that the guide draws.
        summed: those marked for enumeration that the guide leaves out.
        local: every latent of model and guide sits in the data plate.
        guided: the guide draws every latent but those summed out.
        dense: log densities of a draw can be had.
    """

    model: Runner
    guide: Runner
    batch: Batch
    times: int
    blank: Batch | None
    plate: Any
    observed: tuple[str, ...]
    latents: tuple[str, ...]
    summed: tuple[str, ...]
    local: bool
    guided: bool
    dense: bool

    def run(self) -> tuple[Any, Any]:
        """Traces of the guide, and of the model with the guide's latents."""
        guide = poutine.trace(self.guide).get_trace(self.batch)
        return guide, poutine.trace(poutine.replay(self.model, trace=guide)).get_trace(self.batch)

    def draws(self, site: Any) -> tuple[Tensor, list[str | None]]:
        """A site's value with the draws of the run first, (times, ...), and names of the dimensions after that."""
        value, names = laid_out(site)
        return self.split(value, names), names

    def split(self, value: Tensor, names: list[str | None]) -> Tensor:
        """The draws of a run first, (times, ...), taken out of the data plate's dimension."""
        if self.times == 1:
            return value[None]
        if self.plate.name not in names:
            return value.expand(self.times, *value.shape)
        axis = names.index(self.plate.name)
        return value.unflatten(axis, (self.times, -1)).movedim(axis, 0)


def examine(story: Story, batch: Batch, times: int = 1) -> Anatomy:
    """Run guide and model once, and note what there is.

    Args:
        story: the story, at home and predicting.
        batch: the rows.
        times: how many draws to make in one run, on repeated rows.

    Raises:
        ValueError: the program chooses its own rows, so that draws would belong to other rows than those given.
    """
    program, batch = Program(story), batch.repeated(times)
    runner = program.guide if "guide" not in story.unsupported else _nothing
    guide = poutine.trace(runner).get_trace(batch)
    model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(batch)
    sites = list(model.nodes.values())
    plate = _rows_plate(story, model, batch)
    latents, drawn = latent_sites(sites), latent_sites(guide.nodes.values())
    summed = [name for name, site in latents.items() if name not in drawn and enumerated(site)]
    guided = all(name in drawn or name in summed for name in latents)
    shared = outside({**latents, **drawn}, plate.name if plate is not None else None)
    summable = not summed or (plate is not None and not set(summed) & set(shared))
    observed = tuple(observed_sites(sites))
    return Anatomy(
        program.model,
        runner,
        batch,
        times,
        blank_batch(program, batch, model, observed),
        plate,
        observed,
        tuple(name for name in latents if name in drawn),
        tuple(summed),
        local=plate is not None and not shared,
        guided=guided,
        dense=guided and summable and "density" not in story.unsupported,
    )


def deterministic_sites(trace: Any) -> dict[str, Any]:
    """The sites of `pyro.deterministic`, by name."""
    sites = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    return {name: site for name, site in sites.items() if site["infer"].get("_deterministic")}


def laid_out(site: Any) -> tuple[Tensor, list[str | None]]:
    """A site's value, and for each of its dimensions the name of the plate that it belongs to, or None.

    Dimensions of size 1 that only keep a place between plates are dropped.
    """
    value, event = torch.as_tensor(site["value"]), int(site["fn"].event_dim)
    frames = [frame for frame in site["cond_indep_stack"] if frame.dim is not None]
    if site["infer"].get("_deterministic"):
        # `pyro.deterministic` takes all dimensions for the event's unless it is told otherwise.
        event = 0 if frames and event == value.dim() else min(event, value.dim())
    elif site["is_observed"]:
        value = value.expand(torch.broadcast_shapes(value.shape, site["fn"].shape()))
    batch = value.dim() - event
    names: list[str | None] = [None] * value.dim()
    for frame in frames:
        if -frame.dim <= batch and value.shape[batch + frame.dim] == frame.size:
            names[batch + frame.dim] = frame.name
    if not frames:
        return value, names
    kept = [i for i in range(value.dim()) if i >= batch or names[i] is not None or value.shape[i] != 1]
    return value.reshape([value.shape[i] for i in kept]), [names[i] for i in kept]


def _nothing(batch: Batch) -> None:
    """The guide of a story without one."""


def _rows_plate(story: Story, model: Any, batch: Batch) -> Any:
    plate = data_plate(model.nodes.values(), batch.n)
    if plate is None or plate.dim is None:
        return None
    if not takes_given_rows(model.nodes.get(plate.name), plate, batch):
        raise ValueError(
            f"{story.name}: plate '{plate.name}' chooses its own rows, unrelated to those given, so no draw belongs "
            "to "
            f'a row of the data: write `pyro.plate("{plate.name}", total, subsample=index)`'
        )
    return plate
