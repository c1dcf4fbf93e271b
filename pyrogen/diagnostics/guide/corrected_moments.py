"""Mean, width and correlations of a posterior that all data share, with the guide's error taken out by its weights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import collect
from pyrogen.diagnostics.guide.importance import ImportanceWeights, smoothed
from pyrogen.inference import evaluation_context

__all__ = ["Moments", "shared_moments"]

_LATENTS = 64
"""Up to which all pairs of latents are looked at."""


@dataclass(frozen=True)
class Moments:
    """The guide's draws of K latents beside what their weights make of them.

    Differences have the errors of differences, for both sides are of the same draws: under an exact guide both are 0.

    Args:
        names: of the latents, (K,), such as `theta[3]`.
        guide: their draws, (S, K).
        weights: of all latents together, (S, 1).
        shift: (K,) (posterior mean - guide's mean) / guide's standard deviation.
        width: (K,) the guide's standard deviation over the posterior's, less 1.
        dependence: (K, K) the posterior's correlations less the guide's; None for more than 64 latents.
    """

    names: tuple[str, ...]
    guide: Array
    weights: ImportanceWeights
    shift: Estimates
    width: Estimates
    dependence: Estimates | None

    @property
    def corrected(self) -> tuple[Array, Array]:
        """The posterior's means and standard deviations, (K,) each."""
        sd = self.guide.std(0)
        return self.guide.mean(0) + self.shift.value * sd, sd / (1 + self.width.value)

    def __str__(self) -> str:
        off, widths = np.abs(self.shift.value).max(), self.width.value
        return (
            f"k-hat {self.weights.khat[0]:.2f}; means off by up to {off:.2g} sd, sds by {widths.min():+.1%} to "
            f"{widths.max():+.1%}"
        )


def shared_moments(fitted: Any, data: Any, num_samples: int = 4000, *, seed: int = 0) -> Moments:
    """Compare the guide's moments with those that Pareto smoothed weights p(x, z) / q(z) of its draws give.

    Where k-hat is above its threshold they are lower bounds of what is wrong: no draw lies where the guide does not go.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained, with latents that data share.
        data: the training data.
        num_samples: draws S.
        seed: of the draws.

    Raises:
        ValueError: the guide does not draw every latent, or always the same value; every latent belongs to a datum; or
            the data are not those of training.

    References:
        Yao, Vehtari, Simpson, Gelman 2018, arXiv:1802.02538.
    """
    with evaluation_context(fitted, seed) as context:
        story = context.story
        batch = context.batch(data)
        if batch.n != batch.total:
            raise ValueError(
                f"{story.name}: data share latents, whose posterior is given the {batch.total} rows of the training "
                f"data, and {batch.n} rows came: pass the training data"
            )
        groups = collect(story, batch, {"posterior", "sample_stats"}, num_samples)[0].groups
    if "sample_stats" not in groups or "posterior" not in groups:
        raise ValueError(f"{story.name}: no draw has a weight of all latents together")
    stats, latents = groups["sample_stats"], groups["posterior"]
    log_w = stats["lp"].values[0].astype(np.float64) - stats["log_q"].values[0]
    draws = {name: v.values[0] for name, v in latents.items()}
    if all((site == site[0]).all() for site in draws.values()):
        raise ValueError(f"{story.name}: its guide is a point, all its draws are the same: there is no posterior")
    return _moments(draws, ImportanceWeights(log_w[:, None]))


def _moments(sites: dict[str, Array], weights: ImportanceWeights) -> Moments:
    names = [f"{name}{_place(index)}" for name, draws in sites.items() for index in np.ndindex(draws.shape[1:])]
    draws = np.concatenate([site.reshape(len(site), -1) for site in sites.values()], 1).astype(np.float64)
    moves = draws.std(0) > 0
    draws, names = draws[:, moves], list(itertools.compress(names, moves))
    w = np.exp(smoothed(weights.log_weights)[0])
    z = (draws - draws.mean(0)) / draws.std(0)
    shift = _change(w, z)
    away = z - shift.value
    variance = (w * away**2).sum(0)
    with np.errstate(divide="ignore"):
        width = Estimates(variance**-0.5 - 1, _change(w, away**2).error / 2 * variance**-1.5)
    dependence = _dependence(w, z, away / np.sqrt(variance)) if len(names) <= _LATENTS else None
    return Moments(tuple(names), draws, weights, shift, width, dependence)


def _change(w: Array, f: Array) -> Estimates:
    """What weights (S, 1) change of the mean of f (S, ...), with the error of the difference."""
    w = w.reshape(-1, *[1] * (f.ndim - 1))
    mean = (w * f).sum(0)
    return Estimates(mean - f.mean(0), np.sqrt(((w - 1 / len(f)) ** 2 * (f - mean) ** 2).sum(0)))


def _dependence(w: Array, guide: Array, posterior: Array) -> Estimates:
    """Correlations of the posterior less those of the guide, from values standardized under each."""
    correlations = (w * posterior).T @ posterior - guide.T @ guide / len(guide)
    error = [_change(w, posterior * posterior[:, i, None]).error for i in range(posterior.shape[1])]
    return Estimates(correlations, np.stack(error))


def _place(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
