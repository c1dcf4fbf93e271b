"""Draws by site name: of latents from guide and prior, and of data under each.

Columns that hold the response may be left out, or None, as at new covariates: the program then draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.inference.prediction.responses import (
    blank_batch,
    guided_sites,
    left_out_sites,
    response_sites,
)
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.training_rows import check_rows
from pyrogen.story import Batch, Unobserved, latent_sites

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
        guide = check_rows(program, poutine.trace(program.guide).get_trace(batch), batch)
        sites = latent_sites(guide.nodes.values())
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
    left_out: dict[int, tuple[str, ...]] = {}

    def draw(program: Program, batch: Batch) -> Draws:
        trace = poutine.trace(program.model).get_trace(batch)
        if batch.n not in left_out:
            left_out[batch.n] = left_out_sites(program, trace, guided_sites(program, batch))
        sites = latent_sites(trace.nodes.values())
        return {name: site["value"] for name, site in sites.items() if name not in left_out[batch.n]}

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
        guide = check_rows(program, poutine.trace(program.guide).get_trace(batch), batch)
        return new(program, batch, guide)

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
    return _stacked(story, data, num_samples, seed, "sample", new)


class _NewData:
    """Draws the observed sites anew: from x=None where the model allows it, else with observations removed."""

    def __init__(self) -> None:
        self.observed: tuple[str, ...] | None = None
        self.blank: Batch | None = None

    def __call__(self, program: Program, batch: Batch, guide: Any = None) -> Draws:
        model: Any = program.model if guide is None else poutine.replay(program.model, trace=guide)
        if self.observed is None:
            trace = poutine.trace(model).get_trace(batch)
            guided = guided_sites(program, batch) if guide is None else guide.nodes
            self.observed = response_sites(trace, left_out_sites(program, trace, guided))
            self.blank = blank_batch(program, batch, trace, self.observed)
        if self.blank is None:
            model = Unobserved(self.observed)(model)
        nodes: Any = poutine.trace(model).get_trace(self.blank or batch).nodes
        return {name: nodes[name]["value"] for name in self.observed if name in nodes}


def _stacked(
    story: Any, data: Any, num_samples: int, seed: int | None, needs: str, draw: Callable[[Program, Batch], Draws]
) -> Draws:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    with evaluation_context(story, seed) as context:
        context.story.require(needs)
        batch = context.batch(data, predictive=True)
        draws = [draw(context.program, batch) for _ in range(num_samples)]
        names = dict.fromkeys(name for sites in draws for name in sites)
        return {name: _stack(name, [sites.get(name) for sites in draws]) for name in names}


def _stack(name: str, values: list[Any]) -> Tensor:
    """The draws of a site, (draws, ...), which no gradient reaches."""
    tensors = [torch.as_tensor(value) for value in values if value is not None]
    shapes = {tuple(t.shape) for t in tensors}
    if len(tensors) < len(values) or len(shapes) > 1:
        found = ", ".join(map(str, sorted(shapes)))
        raise ValueError(
            f"site '{name}' is not the same in every draw (in {len(tensors)} of {len(values)}; shapes: {found}), so "
            "its draws make no tensor: write it with a mask in place of sites that come and go"
        )
    return torch.stack(tensors).detach()
