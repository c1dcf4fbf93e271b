"""Draws by site name: of latents from guide and prior, and of data under each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, latent_sites, observed_sites
from pyrogen.story.sampling import Unobserved, observes

Draws = dict[str, Tensor]


def posterior(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the latents from the guide, given data.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them, N rows.
        num_samples: number of draws; 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        By site name, draws first: (num_samples, N, ...) for a latent of each datum.
    """

    def draw(program: Program, batch: Batch) -> Draws:
        sites = latent_sites(poutine.trace(program.guide).get_trace(batch).nodes.values())
        return {name: site["value"] for name, site in sites.items() if not site["infer"].get("is_auxiliary")}

    return _stacked(story, data, num_samples, seed, "guide", draw)


def prior(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the latents from the model; of the data only shapes and the columns conditioned on matter.

    Args:
        story: see `posterior`.
        data: see `posterior`.
        num_samples: number of draws; 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        By site name, draws first.
    """

    def draw(program: Program, batch: Batch) -> Draws:
        trace = poutine.trace(program.model).get_trace(batch)
        return {name: site["value"] for name, site in latent_sites(trace.nodes.values()).items()}

    return _stacked(story, data, num_samples, seed, "sample", draw)


def posterior_predictive(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the observed sites given latents from the guide.

    Args:
        story: see `posterior`.
        data: see `posterior`.
        num_samples: number of draws; 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        By site name, draws first: (num_samples, N, ...).
    """
    new = _NewData()

    def draw(program: Program, batch: Batch) -> Draws:
        guide = poutine.trace(program.guide).get_trace(batch)
        return new(program, batch, lambda model: poutine.replay(model, trace=guide))

    return _stacked(story, data, num_samples, seed, "guide", draw)


def prior_predictive(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the observed sites given latents from the model.

    Args:
        story: see `posterior`.
        data: see `posterior`.
        num_samples: number of draws; 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        By site name, draws first: (num_samples, N, ...).
    """
    new = _NewData()
    return _stacked(story, data, num_samples, seed, "sample", lambda program, batch: new(program, batch, lambda m: m))


class _NewData:
    """Draws the observed sites anew: from x=None where the model allows it, else with observations removed."""

    def __init__(self) -> None:
        self.observed: tuple[str, ...] | None = None
        self.blank: Batch | None = None

    def __call__(self, program: Program, batch: Batch, under: Callable[[Any], Any]) -> Draws:
        if self.observed is None:
            trace = poutine.trace(under(program.model)).get_trace(batch)
            self.observed = tuple(observed_sites(trace.nodes.values()))
            self.blank = blank_batch(program, batch, trace, self.observed)
        model = under(program.model)
        model = Unobserved(self.observed)(model) if self.blank is None else model
        nodes: Any = poutine.trace(model).get_trace(self.blank or batch).nodes
        return {name: nodes[name]["value"] for name in self.observed}


def blank_batch(program: Program, batch: Batch, trace: Any, observed: tuple[str, ...]) -> Batch | None:
    """The batch with its observed columns None, for a model that draws them from x=None.

    Args:
        program: the story's.
        batch: the rows.
        trace: of the model on the batch.
        observed: names of the observed sites.

    Returns:
        The batch, or None where the model cannot draw all its observed sites from it.
    """
    columns = {key: None if observes(trace, observed, key, c) else c for key, c in batch.columns.items()}
    blank = replace(batch, columns=columns)
    try:
        nodes = poutine.trace(program.model).get_trace(blank).nodes
    except Exception:  # no x=None path, in whatever way the program says so
        return None
    drawn = latent_sites(nodes.values())
    for name in observed:
        site = trace.nodes[name]
        shape = torch.broadcast_shapes(torch.as_tensor(site["value"]).shape, site["fn"].shape())
        if name not in drawn or drawn[name]["value"].shape != shape:
            return None
    return blank


def _stacked(
    story: Any, data: Any, num_samples: int, seed: int | None, needs: str, draw: Callable[[Program, Batch], Draws]
) -> Draws:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    with evaluation_context(story, seed) as context:
        context.story.require(needs)
        batch = context.batch(data)
        draws = [draw(context.program, batch) for _ in range(num_samples)]
    return {name: torch.stack([d[name] for d in draws]) for name in draws[0]}
