"""Several fits of one model from initial values that are far apart."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous, AutoNormal
from torch import Tensor
from torch.distributions import biject_to

from pyrogen.annotations import Count, Seed
from pyrogen.inference.fit import fit
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.input_checks import guide_parts
from pyrogen.inference.program.rng import seeded
from pyrogen.inference.training.result import Fit
from pyrogen.messages import as_path
from pyrogen.story import Story, as_story, latent_sites

_PRIOR_DRAWS, _KEPT = 200, 50
"""Draws from the prior, and those of highest density that initial values are chosen from."""

_CENTRAL = 0.1
"""Initial values are clipped to the quantiles of the prior from here to one less this."""


def fit_restarts(
    build: Callable[[], Any],
    data: Any,
    restarts: Count = 4,
    *,
    seed: Seed = 0,
    out: str | Path | None = None,
    **options: Any,
) -> list[Fit]:
    """Train a model several times, to see whether its posterior has modes that one fit does not visit.

    The first fit starts where it would alone. Each further one has another seed; an AutoGuide with a location starts
    at a draw from the prior, of those that fit the data best the one that is farthest from the starts before it.
    `diagnose(fits, data)` compares the fits.

    Args:
        build: makes a new story, or a new pair `(model, guide)`, at each call.
        data: as `fit` takes them.
        restarts: number of fits, 4 by default.
        seed: of the first fit, and of the choice of initial values; the others count up from it. 0 by default.
        out: folder of the first run; the others are in `restart_2`, `restart_3`, ... in it. None, the default: not
            kept. With `resume=True` finished runs stay as they are.
        options: further arguments of `fit`.

    Returns:
        The fits, in the order of their seeds.

    Raises:
        ValueError: `restarts` is below 1, `build` gives one object twice, or as `fit` does.

    Example:
        >>> from pyrogen.models import PPCA
        >>> fits = fit_restarts(lambda: PPCA(3, latent=1), torch.randn(32, 3), 2, epochs=1, progress=False)
        >>> len(fits)
        2
    """
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    fits: list[Fit] = []
    starts: list[dict[str, Tensor]] = []
    for number in range(restarts):
        with seeded(seed + number):
            story = as_story(build())
        if any(story is fitted.story for fitted in fits):
            raise ValueError("build gave the same story twice: let it make a new one at each call")
        if number == 0:
            starts = _spread_starts(story, data, restarts, seed)
        elif starts:
            _start_at(story, data, starts[number])
        folder = None if out is None else restart_folder(out, number)
        fits.append(fit(story, data, seed=(seed + number) % 2**64, out=folder, **options))
    return fits


def restart_folder(out: str | Path, number: int) -> Path:
    """The folder of one of several fits.

    Args:
        out: the folder of the first.
        number: of the fit, counted from 0.

    Returns:
        `out` itself for the first, `out/restart_2` for the second, and so on.
    """
    path = as_path(out, "the run directory")
    return path / f"restart_{number + 1}" if number else path


def _spread_starts(story: Story, data: Any, count: int, seed: int) -> list[dict[str, Tensor]]:
    """Unconstrained values of the latents by site, far apart; none where no AutoGuide has a location to set."""
    if count < 2 or not any(isinstance(part, AutoContinuous | AutoNormal) for part in guide_parts(story)):
        return []
    draws: list[tuple[float, dict[str, Tensor]]] = []
    try:
        with evaluation_context(story, seed) as context:
            batch = context.batch(data)
            for _ in range(_PRIOR_DRAWS):
                trace: Any = poutine.trace(context.program.model).get_trace(batch)
                sites = latent_sites(trace.nodes.values())
                free = {name: site for name, site in sites.items() if not site["fn"].support.is_discrete}
                values = {name: biject_to(site["fn"].support).inv(site["value"]) for name, site in free.items()}
                draws.append((float(trace.log_prob_sum()), values))
    except (NotImplementedError, RuntimeError, ValueError):  # an improper prior, or one that the likelihood refuses
        return []
    return _farthest([values for _, values in draws], torch.tensor([log_p for log_p, _ in draws]), count)


def _farthest(draws: list[dict[str, Tensor]], log_p: Tensor, count: int) -> list[dict[str, Tensor]]:
    """Of the draws of highest density the one nearest to the median, where the first fit starts, then the farthest."""
    flat = torch.stack([torch.cat([v.reshape(-1) for v in values.values()]) for values in draws]).double()
    low, high = flat.quantile(_CENTRAL, 0), flat.quantile(1 - _CENTRAL, 0)
    best = log_p.nan_to_num(-math.inf).topk(_KEPT).indices
    points = ((flat.clamp(low, high) - flat.median(0).values) / (high - low).clamp_min(1e-12))[best]
    places = [int(points.norm(dim=1).argmin())]
    while len(places) < count:
        places.append(int(torch.cdist(points, points[places]).min(1).values.argmax()))
    starts = []
    for place in best[places].tolist():
        parts = flat[place].clamp(low, high).split([v.numel() for v in draws[place].values()])
        named = zip(draws[place].items(), parts, strict=True)
        starts.append({name: part.to(value.dtype).reshape(value.shape) for (name, value), part in named})
    return starts


@torch.no_grad()
def _start_at(story: Story, data: Any, start: dict[str, Tensor]) -> None:
    """Set up the AutoGuides of a story, and set their locations."""
    with evaluation_context(story, 0) as context:
        context.program.guide(context.batch(data))
    for guide in (part for part in guide_parts(story) if isinstance(part, AutoContinuous | AutoNormal)):
        if isinstance(guide, AutoNormal):
            for name, value in start.items():
                operator.attrgetter(name)(guide.locs).copy_(value)
        elif hasattr(guide, "loc"):
            guide.loc.copy_(torch.cat([start[name].reshape(-1) for name in guide._unconstrained_shapes]))


def restarts_in(out: str | Path) -> list[Path]:
    """The folders of further fits beside the first, in order.

    Args:
        out: the folder of the first.

    Returns:
        `out/restart_2`, `out/restart_3`, ..., as far as there are checkpoints in them.
    """
    numbered = map(functools.partial(restart_folder, out), itertools.count(1))
    return list(itertools.takewhile(lambda folder: RunDirectory(folder).can_resume, numbered))
