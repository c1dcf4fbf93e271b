"""Fits from several starts, held against each other: another mode of the posterior shows in no weight of one fit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.shared_draws import SharedDraws, SharedSampler
from pyrogen.inference import evaluation_context

_NATS = 10.0
"""How far the ELBO of a mode that matters may be below that of the best."""

_MAX_LABELS = 6
"""Labels of which all permutations are tried."""


@dataclass(frozen=True)
class Starts:
    """Means of K latents under the guides of R fits.

    Args:
        names: of the latents, (K,).
        means: (R, K).
        sds: (R, K) standard deviations.
        log_joint: (R,) mean of log p(x, z) over a guide's draws, in nats.
        elbo: (R,) of all data, in nats.
        relabelled: (R, R) largest distance of two fits after the best permutation of labels, as `distances`.
    """

    names: tuple[str, ...]
    means: Array
    sds: Array
    log_joint: Array
    elbo: Array
    relabelled: Array

    @property
    def distances(self) -> Array:
        """The largest distance of two fits' means, in their root mean square standard deviation, (R, R)."""
        return _distances(self.means[:, None], self.means[None], self.sds[:, None], self.sds[None])

    @property
    def relevant(self) -> Array:
        """Starts whose ELBO is within 10 nats of the best, (R,): the mass of the others is some exp(-10) of theirs."""
        return np.asarray(self.elbo > self.elbo.max() - _NATS)

    def among(self, kept: Array) -> Starts:
        """Some of the starts.

        Args:
            kept: which, (R,) bool.

        Returns:
            These alone.
        """
        means, sds, log_joint, elbo = (array[kept] for array in (self.means, self.sds, self.log_joint, self.elbo))
        return Starts(self.names, means, sds, log_joint, elbo, self.relabelled[np.ix_(kept, kept)])

    @property
    def farthest(self) -> str:
        """The latent whose means are farthest apart."""
        gap = np.ptp(self.means, 0) / np.sqrt((self.sds**2).mean(0)).clip(1e-12)
        return self.names[int(np.argmax(gap))]

    def __str__(self) -> str:
        return f"{len(self.means)} starts; means up to {self.distances.max():.2g} sd apart, {self.farthest} the most"


def compare_starts(runs: Sequence[Any], data: Any, num_samples: Count = 1000, *, seed: Seed = 0) -> Starts:
    """Compare the guides of several fits of one model with shared latents, such as from several initial values.

    Args:
        runs: at least two fits, each a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: the training data.
        num_samples: draws from each guide, 1,000 by default.
        seed: of the draws, 0 by default.

    Returns:
        Their means, standard deviations and distances.

    Raises:
        ValueError: there are fewer than two runs, they are of different latents, or the data are not those of training.

    References:
        Gelman, Rubin 1992, Statistical Science 7(4); Stephens 2000, JRSS B 62(4) (label switching).
    """
    if len(runs) < 2:
        raise ValueError(f"expected at least two runs to compare, got {len(runs)}")
    drawn: list[SharedDraws] = []
    for run in runs:
        with evaluation_context(run, seed) as context:
            drawn.append(SharedSampler(context.story, context.batch(data)).draw(num_samples))
    sites = [one.values for one in drawn]
    if len({tuple((name, draws.shape) for name, draws in one.items()) for one in sites}) > 1:
        raise ValueError("the runs have different latents: compare fits of one model")
    means, sds = ([{n: getattr(d, of)(0) for n, d in one.items()} for one in sites] for of in ("mean", "std"))
    flat_means, flat_sds = (np.stack([_flat(one) for one in part]) for part in (means, sds))
    pairs = [[_relabelled(means[i], means[j], sds[i], sds[j]) for j in range(len(runs))] for i in range(len(runs))]
    joint = np.array([one.log_p.mean() for one in drawn])
    elbo = np.array([one.log_weights.mean() for one in drawn])
    return Starts(drawn[0].names, flat_means, flat_sds, joint, elbo, np.asarray(pairs))


def _flat(sites: dict[str, Array]) -> Array:
    return np.concatenate([site.ravel() for site in sites.values()])


def _distances(a: Array, b: Array, a_sd: Array, b_sd: Array) -> Array:
    return np.asarray((np.abs(a - b) / np.sqrt((a_sd**2 + b_sd**2) / 2).clip(1e-12)).max(-1))


def _relabelled(a: dict[str, Array], b: dict[str, Array], a_sd: dict[str, Array], b_sd: dict[str, Array]) -> float:
    """The least distance over permutations of labels: of all axes of one size, in all sites at once."""
    least = float(_distances(_flat(a), _flat(b), _flat(a_sd), _flat(b_sd)))
    for size in {n for site in a.values() for n in site.shape if 1 < n <= _MAX_LABELS}:
        for order in itertools.permutations(range(size)):
            mean, sd = (_flat({name: _permuted(site, size, order) for name, site in one.items()}) for one in (a, a_sd))
            least = min(least, float(_distances(mean, _flat(b), sd, _flat(b_sd))))
    return least


def _permuted(site: Array, size: int, order: Sequence[int]) -> Array:
    for axis, n in enumerate(site.shape):
        if n == size:
            site = np.take(site, order, axis)
    return site
