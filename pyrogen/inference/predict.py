"""Draws by site name: from the posterior that the guide stands for, from the prior, and of data under each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.inference.likelihood import whole_batch
from pyrogen.inference.program import Program
from pyrogen.inference.random_state import seeded
from pyrogen.story import Batch, Story, as_story, latent_sites, observed_sites
from pyrogen.story.draw import Released

__all__ = ["posterior", "posterior_predictive", "prior", "prior_predictive"]

Draws = dict[str, Tensor]


def posterior(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the latents from the guide, given data.

    Args:
        story: a story, or a pair of Pyro functions.
        data: columns as `fit` takes them.
        num_samples: how many draws.
        seed: of the draws; None goes on with torch's own generator.

    Returns:
        By site name, draws first: (num_samples, N, ...) for a latent of each datum.
    """

    def draw(program: Program, batch: Batch) -> Draws:
        trace = poutine.trace(program.guide).get_trace(batch)
        return {name: site["value"] for name, site in latent_sites(trace.nodes.values()).items()}

    return _stacked(story, data, num_samples, seed, draw)


def prior(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the latents from the model; data lends only its columns' shapes and what is conditioned on.

    Returns:
        By site name, draws first.
    """

    def draw(program: Program, batch: Batch) -> Draws:
        trace = poutine.trace(program.model).get_trace(batch)
        return {name: site["value"] for name, site in latent_sites(trace.nodes.values()).items()}

    return _stacked(story, data, num_samples, seed, draw)


def posterior_predictive(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the observed sites given latents from the guide.

    Returns:
        By site name, draws first: (num_samples, N, ...).
    """

    def draw(program: Program, batch: Batch) -> Draws:
        guide = poutine.trace(program.guide).get_trace(batch)
        return _observations(program, batch, lambda model: poutine.replay(model, trace=guide))

    return _stacked(story, data, num_samples, seed, draw)


def prior_predictive(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Draws:
    """Draws of the observed sites given latents from the model.

    Returns:
        By site name, draws first: (num_samples, N, ...).
    """
    return _stacked(story, data, num_samples, seed, lambda program, batch: _observations(program, batch, lambda m: m))


def _observations(program: Program, batch: Batch, under: Callable[[Any], Any]) -> Draws:
    """The observed sites drawn anew; found by a run with the data, so that a model without x=None serves as well."""
    observed = tuple(observed_sites(poutine.trace(under(program.model)).get_trace(batch).nodes.values()))
    trace: Any = poutine.trace(Released(observed)(under(program.model))).get_trace(batch)
    return {name: trace.nodes[name]["value"] for name in observed}


def _stacked(
    story: Any, data: Any, num_samples: int, seed: int | None, draw: Callable[[Program, Batch], Draws]
) -> Draws:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    told: Story = as_story(story)
    told.decline("guide" if draw.__qualname__.startswith("posterior") else "sample")
    program = Program(told)
    with seeded(seed if seed is not None else int(torch.randint(2**31, ()))), told.predicting():
        batch = whole_batch(told, program, data)
        draws = [draw(program, batch) for _ in range(num_samples)]
    return {name: torch.stack([d[name] for d in draws]) for name in draws[0]}
