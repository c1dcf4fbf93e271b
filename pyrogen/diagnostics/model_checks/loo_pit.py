"""Probability integral transforms of the data, each left out of the posterior, and a test of their uniformity."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.posterior_draws import collect_draws, joint_log_weights
from pyrogen.diagnostics.guide.pareto_smoothing import khat_threshold, pareto_smooth
from pyrogen.diagnostics.guide.rank_uniformity import rank_band, rank_p_values
from pyrogen.diagnostics.model_checks.misfit import Misfit
from pyrogen.inference import evaluation_context

_CELLS = 200
"""Cells of equal size in which transforms are counted."""


def loo_pit(fitted: Any, data: Any, num_samples: Count = 1000, *, seed: Seed = 0) -> dict[str, Array]:
    """P(y_i' < y_i given the other data), ties in part, of each datum: uniform under a right model.

    Draws of the guide are weighted by p(z | x) / q(z) and by 1 / p(x_i | z), as in `loo`. Of a discrete site a random
    share of P(y_i' = y_i) is added, so that transforms are uniform there too.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained, whose latents are all shared.
        data: the training data, in columns as `fit` takes them.
        num_samples: number of draws, 1,000 by default.
        seed: of the draws, 0 by default.

    Returns:
        (N,) by observed site, of those with one number for each datum.

    Raises:
        ValueError: data have latents of their own, or the guide is so far from the posterior that weights fail.

    References:
        Gelfand, Dey, Chang 1992; Gabry et al. 2019, JRSS A 182(2), arXiv:1709.01449.
    """
    with evaluation_context(fitted, seed) as context:
        batch, name = context.batch(data), context.story.name
        wanted = {"log_likelihood", "sample_stats", "posterior_predictive", "observed_data"}
        arrays = collect_draws(context.story, batch, wanted, num_samples)
    log_w = joint_log_weights(arrays)
    if log_w is None or "log_likelihood" not in arrays.groups:
        raise ValueError(f"{name}: data have latents of their own, given which none can be left out")
    log_p = np.sum([site.values[0].astype(np.float64) for site in arrays.groups["log_likelihood"].values()], 0)
    weights, khat = pareto_smooth(log_w - log_p)
    if float(np.median(khat)) > khat_threshold(num_samples):
        raise ValueError(f"{name}: the guide is too far from the posterior to leave data out (k-hat {khat.max():.2f})")
    found, rng = {}, np.random.default_rng(seed)
    for site, variable in arrays.groups["observed_data"].items():
        drawn = arrays.groups["posterior_predictive"][site].values[0]
        if drawn.ndim == 2 and drawn.shape == log_p.shape:
            below, same = (
                np.sum(np.exp(weights) * on, 0) for on in (drawn < variable.values, drawn == variable.values)
            )
            found[site] = np.clip(below + rng.random(len(below)) * same, 0.0, 1.0)
    return found


def uniformity(transforms: Array) -> Misfit:
    """Test probability integral transforms for uniformity, by their whole empirical distribution function.

    Args:
        transforms: (N,) in [0, 1].

    Returns:
        The largest distance of the distribution function from the diagonal, the least that leaves the simultaneous 95 %
        band, and the p-value as a normal quantile.

    References:
        Säilynoja, Bürkner, Vehtari 2022, arXiv:2103.10522.
    """
    n = len(transforms)
    ranks = np.minimum((np.asarray(transforms) * _CELLS).astype(int), _CELLS - 1)
    p_value = float(rank_p_values(ranks[:, None], _CELLS)[0])
    cuts, _, upper = rank_band(n, _CELLS)
    below = np.array([(ranks < round(cut * _CELLS)).mean() for cut in cuts])
    observed, allowed = float(np.abs(below - cuts).max()), float((upper - cuts).max())
    message = "the data, left out one by one, do not lie in their predictive distributions as they should: {} (the "
    message += f"distribution function of LOO-PIT is up to {observed:.2f} from uniform, {allowed:.2f} is allowed)"
    shape = _shape(np.asarray(transforms))
    return Misfit("LOO-PIT", observed, allowed, NormalDist().inv_cdf(1 - p_value / 2), message.format(shape))


def _shape(transforms: Array) -> str:
    """What is wrong with predictive distributions, by mean and spread of the transforms."""
    root = np.sqrt(len(transforms))
    shift = (transforms.mean() - 0.5) * np.sqrt(12) * root
    width = (((transforms - 0.5) ** 2).mean() - 1 / 12) * np.sqrt(180) * root
    if max(abs(shift), abs(width)) < 3:
        return "their shape is wrong"
    if abs(shift) > abs(width):
        return f"these are too {'low' if shift > 0 else 'high'}"
    return f"these are too {'narrow' if width > 0 else 'wide'}"
