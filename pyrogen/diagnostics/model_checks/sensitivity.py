"""How far prior and likelihood decide on a posterior: power-scaling sensitivity, by arviz-stats."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.datatree import DrawArrays, build_datatree
from pyrogen.diagnostics.core.posterior_draws import collect_draws
from pyrogen.diagnostics.model_checks.resampling import resample_draws
from pyrogen.inference import evaluation_context

THRESHOLD = 0.05
"""Sensitivity from which a marginal is said to depend on a component (Kallioinen et al. 2024)."""

_GROUPS = {"prior": "log_prior", "likelihood": "log_likelihood"}
_CONSTANT = 0.01
"""Nats of spread below which a power near 1 changes nothing, and the fit of a tail to its weights fails."""


@dataclass(frozen=True)
class Sensitivity:
    """Change of each latent's marginal distribution as prior or likelihood are raised to a power near 1.

    Args:
        prior: by latent, the cumulative Jensen-Shannon distance over the base-2 logarithm of the power.
        likelihood: the same as the likelihood is raised.
    """

    prior: Mapping[str, float]
    likelihood: Mapping[str, float]

    def _where(self, prior: bool, likelihood: bool) -> list[str]:
        """Latents that are sensitive to the prior, and to the likelihood or not."""
        return [
            name
            for name in self.prior
            if (self.prior[name] >= THRESHOLD, self.likelihood[name] >= THRESHOLD) == (prior, likelihood)
        ]

    @property
    def sentence(self) -> str:
        """What it says, in one plain sentence."""
        if conflict := self._where(True, True):
            return f"prior and data disagree, or the prior is strong, about {_few(conflict)}: both change the posterior"
        if weak := self._where(True, False):
            return f"the prior decides on {_few(weak)}, and the data say little about it"
        if unknown := self._where(False, False):
            return f"neither prior nor data change the posterior of {_few(unknown)} much"
        return "the data decide on every latent, and the prior matters little"

    @property
    def prior_matters(self) -> bool:
        """Whether another prior would change the posterior of some latent."""
        return bool(self._where(True, True) or self._where(True, False))


def sensitivity(fitted: Any, data: Any, num_samples: Count = 4000, *, seed: Seed = 0) -> Sensitivity:
    """Power-scaling sensitivity of latents that data share, `arviz_stats.psense_summary` of weighted draws.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained, whose latents data share.
        data: the training data, in columns as `fit` takes them.
        num_samples: draws of the guide, 4,000 by default.
        seed: of the draws, 0 by default.

    Returns:
        The sensitivities.

    Raises:
        ValueError: every latent belongs to a datum, or the guide is so far from the posterior that weights fail.

    References:
        Kallioinen, Paananen, Bürkner, Vehtari 2024, Statistics and Computing 34(57), arXiv:2107.14054.
    """
    from arviz_stats.psense import psense_summary

    wanted = {"posterior", "log_likelihood", "log_prior", "sample_stats"}
    with evaluation_context(fitted, seed) as context:
        name = context.story.name
        arrays = collect_draws(context.story, context.batch(data), wanted, num_samples)
    resample_draws(arrays, name, seed)
    if "log_likelihood" not in arrays.groups:
        raise ValueError(f"{name}: it has no log-likelihood of single rows to be raised to a power")
    arrays.groups["posterior"] = {site: v for site, v in arrays.groups["posterior"].items() if site in _latents(arrays)}
    log = logging.getLogger("arviz_stats.psense")
    disabled, log.disabled = log.disabled, True  # it repeats the diagnosis as a warning
    try:
        with np.errstate(all="ignore"):
            table = psense_summary(build_datatree(arrays, {}, {}, {}), round_to=6)
    finally:
        log.disabled = disabled
    constant = {name: _spread(arrays, group) < _CONSTANT for name, group in _GROUPS.items()}
    return Sensitivity(
        *(
            {str(latent): 0.0 if constant[name] else float(value) for latent, value in table[name].items()}
            for name in _GROUPS
        )
    )


def _spread(arrays: DrawArrays, group: str) -> float:
    """The standard deviation of the sum of a group's log densities over draws, in nats."""
    terms = [variable.values[0].astype(np.float64) for variable in arrays.groups[group].values()]
    return float(np.sum([term.reshape(len(term), -1).sum(1) for term in terms], 0).std())


def _latents(arrays: DrawArrays) -> set[str]:
    """Names of the latents, without deterministic sites."""
    return set(arrays.groups["log_prior"])


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else ", ".join(names)
