"""Modes of a datum's posterior that its guide never visits, found by draws from the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.log_densities import compute_unscaled_log_prob, log_prob_by_row
from pyrogen.diagnostics.core.row_blocks import analyze_row_blocks
from pyrogen.diagnostics.elbo.decomposition import require_local_latents
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.latent_points import FixedLatents

_LEAST_ESS = 25
"""Effective draws from the prior for a datum from which its log p(x) is compared."""

_SMALL, _FAR = math.log(1.25), 2.0
"""A missed part of the posterior that does not count, in nats of log p(x), and standard errors beyond it that do."""


@dataclass(frozen=True)
class MissedModes:
    """Log p(x) of each datum by draws from the prior, less that by draws from the guide.

    Both are unbiased for p(x), unless the guide never visits a part of the posterior, whose share of p(x) is then
    missing in the second.

    Args:
        excess: (N,) the difference, in nats.
        ess: (N,) effective number of draws from the prior; below 25 the datum is not compared.
    """

    excess: Estimates
    ess: Array

    @property
    def compared(self) -> Array:
        """Data that enough draws from the prior fit, (N,)."""
        return self.ess >= _LEAST_ESS

    @property
    def affected(self) -> Array:
        """Data whose p(x) by the prior is more than 1.25 times that by the guide, by 2 standard errors, (N,)."""
        return self.compared & (self.excess.value - _SMALL > _FAR * self.excess.error)

    def least_share(self, alpha: float) -> float:
        """The lower confidence bound of the share of affected data (Clopper, Pearson 1934, Biometrika 26(4)).

        Args:
            alpha: probability that the share is below it.

        Returns:
            The bound; 0 where no datum is affected.
        """
        from scipy.special import betaincinv

        hits, n = int(self.affected.sum()), int(self.compared.sum())
        return float(betaincinv(hits, n - hits + 1, alpha)) if hits else 0.0

    def __str__(self) -> str:
        return f"{int(self.affected.sum())} of {int(self.compared.sum())} data have a mode that the guide misses"


def prior_log_likelihoods(fitted: Any, data: Any, num_samples: Count = 100, *, seed: Seed = 0) -> Array:
    """Log p(x | z) for z from the prior, by datum.

    Latents that are shared by data, summed out or not drawn by the guide are refused.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws S for each datum, 100 by default.
        seed: of the draws, 0 by default.

    Returns:
        (S, N), in nats.

    Raises:
        ValueError: a latent is shared, summed out or not drawn by the guide.
    """
    blocks = []
    with evaluation_context(fitted, seed) as context:
        story = context.story
        for block in analyze_row_blocks(story, context.batch(data), num_samples):
            require_local_latents(block, story.name)
            runs: list[Array] = []
            while sum(map(len, runs)) < num_samples:
                prior = block.trace_prior()
                latents = {name: prior.nodes[name]["value"] for name in block.latents}
                model: Any = poutine.trace(FixedLatents(latents)(block.model)).get_trace(block.batch)
                compute_unscaled_log_prob(model)
                sites = [log_prob_by_row(model.nodes[name]["log_prob"], block.plate) for name in block.row_terms]
                log_p = block.split_draws(torch.stack(sites).sum(0), [block.plate.name])
                runs.append(log_p.double().cpu().numpy())
            blocks.append(np.concatenate(runs)[:num_samples])
    return np.concatenate(blocks, 1)


def missed_modes(prior: Array, guide: ImportanceWeights) -> MissedModes:
    """Compare log p(x) by draws from the prior with that by draws from the guide.

    Args:
        prior: of `prior_log_likelihoods`, (S, N).
        guide: the importance weights of the same data.

    Returns:
        The differences.

    Example:
        >>> from pyrogen.diagnostics import importance_weights
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> story = PPCA(4, latent=1).maximum_likelihood(x)  # with the exact posterior as guide
        >>> found = missed_modes(prior_log_likelihoods(story, x, 1000), importance_weights(story, x))
        >>> int(found.affected.sum())
        0
    """
    by_prior = ImportanceWeights(prior)
    return MissedModes(by_prior.log_likelihood - guide.log_likelihood, by_prior.ess)
