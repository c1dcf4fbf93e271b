"""The shape of the latents of all data together: heavier tails than the prior's, clusters, or skewness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.program_structure import ProgramStructure, analyze_program
from pyrogen.diagnostics.core.row_blocks import accepts_any_rows, random_rows
from pyrogen.diagnostics.model_checks.misfit import Misfit
from pyrogen.diagnostics.model_checks.misfit_statistics import standard_score
from pyrogen.diagnostics.model_checks.residual_shape import valley
from pyrogen.diagnostics.model_checks.simulation import simulated_data
from pyrogen.inference import evaluation_context, posterior
from pyrogen.story import Batch, inside, unwrap_independent

_SETS, _CODE_DRAWS, _BY_ROW_DRAWS, _POOL = 300, 10, 50, 8
"""Reference sets, draws in a posterior mean, draws of a guide of these rows alone, simulated rows for each datum."""

_ACTIVE, _MOST_DIMENSIONS = 0.01, 32
"""Share of the largest variance of a code below which a latent is not looked at, and how many are."""


@dataclass(frozen=True)
class LatentShape:
    """Statistics of the latents of all data, among those of reference sets.

    Args:
        statistics: `heavy tails`, `clusters` and `skewness` of the latents.
        rows: number of data looked at.
        of: number of data given.
        dimensions: number of latents looked at.
        reference: "simulated data" where the same guide is applied to these, "prior" where it has parameters of each
            row, and its draws are held against those of the prior.
    """

    statistics: list[Misfit]
    rows: int
    of: int
    dimensions: int
    reference: str


def latent_shape(fitted: Any, data: Any, *, rows: Count = 1000, seconds: float = 20.0, seed: Seed = 0) -> LatentShape:
    """Hold the latents of all data together, the aggregate posterior, against those of data simulated from the model.

    Under a right model both have the same distribution: with an amortized guide the posterior means of simulated data
    are the reference, so that errors of the guide are in both. A guide with parameters of each row has no simulated
    data: its draws are then held against the prior of their sites, given the shared latents of the same draw. Sets are
    compared after a linear transformation to unit covariance, hence in shape alone, and in whatever direction.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: largest number of data that are looked at, chosen at random; 1,000 by default.
        seconds: time limit of simulating, 20 by default.
        seed: of all draws, 0 by default.

    Returns:
        The statistics.

    Raises:
        ValueError: no continuous latent of the data depends on them, or there are too few data.

    References:
        Yuan, Johnson 2012, Biometrics 68(1) (draws of latents against the prior); Cardoso 1989 (directions by fourth
        moments).
    """
    with evaluation_context(fitted, seed) as context:
        story, batch = context.story, context.batch(data)
        amortized = accepts_any_rows(story, batch.rows(0, 2), 2)
        sets, reference = (None, None) if amortized else _by_row(analyze_program(story, batch))
        chosen = random_rows(batch, rows) if amortized else batch
    if sets is None or reference is None:
        sets, reference = _amortized(fitted, chosen, seconds, seed)
    n, dimensions = sets.shape[1:]
    if n < max(50, 3 * dimensions):
        raise ValueError(f"{n} data are too few for the shape of {dimensions} latents")
    return LatentShape(_compare(sets, reference), n, batch.n, dimensions, "simulated data" if amortized else "prior")


def _amortized(fitted: Any, chosen: Batch, seconds: float, seed: int) -> tuple[Array, Array]:
    """Posterior means of the data, (1, N, D), and sets of those of simulated data, (sets, N, D)."""
    codes = _codes(fitted, chosen, seed)
    sizes = {"rows": _POOL * chosen.n, "needed": 2 * len(codes)}
    simulated = simulated_data(fitted, chosen, **sizes, seconds=seconds, seed=seed + 1)
    pool = _codes(fitted, simulated, seed + 1)
    if len(pool) < 2 * len(codes):
        raise ValueError(f"only {len(pool)} data were simulated in {seconds:.0f} s, and {2 * len(codes)} are needed")
    variance = pool.var(0)
    kept = np.argsort(-variance)[:_MOST_DIMENSIONS]
    kept = kept[variance[kept] > _ACTIVE * variance.max()] if variance.max() > 1e-12 else kept[:0]
    if not len(kept):
        raise ValueError("no continuous latent depends on the data")
    # Each set is drawn from the pool without repetition: repeated rows would look like clusters.
    rng = np.random.default_rng(seed)
    places = np.argsort(rng.random((_SETS, len(pool))), 1)[:, : len(codes)]
    return codes[None][..., kept], pool[:, kept][places]


def _codes(fitted: Any, rows: Batch, seed: int) -> Array:
    """Posterior means of all continuous latents, (N, D)."""
    draws = posterior(fitted, rows, _CODE_DRAWS, seed=seed)
    values = [d for d in draws.values() if d.is_floating_point() and d.shape[1] == rows.n]
    if not values:
        raise ValueError("the data have no continuous latents")
    return np.concatenate([v.double().mean(0).reshape(rows.n, -1).cpu().numpy() for v in values], 1)


def _by_row(structure: ProgramStructure) -> tuple[Array, Array]:
    """Draws of the latents of the data as normal quantiles of their prior, (draws, N, D), and standard normal sets."""
    runs = [_normal_scores(structure) for _ in range(_BY_ROW_DRAWS)]
    sets = torch.stack(runs).double().cpu().numpy()[..., :_MOST_DIMENSIONS]
    reference = np.random.default_rng(0).standard_normal((_SETS, *sets.shape[1:]))
    return sets, reference


def _normal_scores(structure: ProgramStructure) -> torch.Tensor:
    plate = structure.plate
    model = structure.run()[1]
    found = []
    for name in structure.latents:
        site = model.nodes[name]
        if plate is None or not inside(site, plate.name):
            continue
        try:
            below = unwrap_independent(site["fn"]).cdf(site["value"].detach()).double()
        except NotImplementedError:
            continue
        rows = below.movedim(plate.dim - site["fn"].event_dim, 0).reshape(plate.size, -1)
        found.append(torch.special.ndtri(rows.clamp(1e-12, 1 - 1e-12)))
    if not found:
        raise ValueError("no latent of the data has a prior with a known distribution function")
    return torch.cat(found, 1).detach()


def _compare(sets: Array, reference: Array) -> list[Misfit]:
    """The shape of the first sets among that of the reference."""
    mine, theirs = (_shapes(values) for values in (sets, reference))
    return [
        _one("heavy tails", mine[0], theirs[0], 0, "heavier tails", "lighter tails"),
        _one("clusters", mine[1], theirs[1], 1, "clusters, with a gap between them", ""),
        _one("skewness", mine[2], theirs[2], 0, "it is skewed", ""),
    ]


def _one(name: str, mine: Array, theirs: Array, power: float, above: str, below: str) -> Misfit:
    values = np.r_[mine.mean(), theirs]
    score = standard_score(values, power, 0.3 if power else 0.0, extreme=True)
    score = score if below else max(score, 0.0)
    message = f"the distribution of the latents over the data is not the prior: {above if score > 0 else below}"
    return Misfit(f"{name} of the latents", float(mine.mean()), float(theirs.mean()), score, message)


def _shapes(sets: Array) -> tuple[Array, Array, Array]:
    """Kurtosis, deepest valley and skewness of each set (sets, N, D), after a transformation to unit covariance."""
    centred = sets - sets.mean(1, keepdims=True)
    n, dimensions = sets.shape[1:]
    values, vectors = np.linalg.eigh(np.einsum("snd,sne->sde", centred, centred) / n)
    white = np.einsum("snd,sde->sne", centred, vectors) / np.sqrt(np.maximum(values, 1e-12))[:, None]
    squares = (white**2).sum(2)
    # The direction of the least fourth moment is the one in which clusters are apart.
    directions = np.linalg.eigh(np.einsum("sn,snd,sne->sde", squares, white, white) / n)[1]
    least, most = (np.einsum("snd,sd->sn", white, directions[:, :, place]) for place in (0, -1))
    kurtosis = np.maximum((squares**2).mean(1) / (dimensions * (dimensions + 2)), (most**4).mean(1) / 3)
    valleys = np.maximum(valley(least[..., None]), valley(most[..., None]))
    skewness = np.linalg.norm(np.einsum("sn,snd->sd", squares, white) / n, axis=1) / np.sqrt(dimensions)
    return kurtosis, valleys, skewness
