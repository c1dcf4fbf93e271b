"""Draws of the posterior, taken among those of the guide by their importance weights."""

from __future__ import annotations

import numpy as np

from pyrogen.diagnostics.core.datatree import DrawArrays
from pyrogen.diagnostics.core.posterior_draws import joint_log_weights
from pyrogen.diagnostics.guide.pareto_smoothing import khat_threshold, pareto_smooth

_OF_THE_GUIDE = ("posterior", "posterior_predictive", "log_likelihood", "log_prior", "sample_stats")


def resample_draws(arrays: DrawArrays, name: str, seed: int) -> None:
    """Put draws of the posterior in the place of the guide's, with replacement, by Pareto smoothed importance weights.

    Systematic resampling: a draw of weight w is taken S w times, rounded up or down by chance.

    Args:
        arrays: draws of one chain, with the group `sample_stats`; they are changed.
        name: of the story.
        seed: of the choice.

    Raises:
        ValueError: there are no joint weights of all latents, or they are unreliable.

    References:
        Rubin 1988; Vehtari, Simpson, Gelman, Yao, Gabry 2024, JMLR 25(72), arXiv:1507.02646.
    """
    log_weights = joint_log_weights(arrays)
    if log_weights is None:
        raise ValueError(
            f"{name}: every latent belongs to a datum, or the guide leaves some out, so that draws of all latents have "
            "no common weights: leave resample out, and compare models by loo(story, data), which is marginal"
        )
    count = len(log_weights)
    log_w, khat = pareto_smooth(log_weights)
    if khat[0] > khat_threshold(count):
        raise ValueError(
            f"{name}: the guide misses part of the posterior (Pareto k-hat {khat[0]:.2f}), so that its draws cannot be "
            "weighted: use a richer guide, or MCMC (sample_reference)"
        )
    rng = np.random.default_rng(seed)
    ends = np.cumsum(np.exp(log_w[:, 0]))
    places = (np.arange(count) + rng.random()) / count * ends[-1]
    chosen = np.minimum(np.searchsorted(ends, places, side="right"), count - 1)
    arrays.take_draws(rng.permutation(chosen), _OF_THE_GUIDE)
    arrays.drop("sample_stats", "log_q")
