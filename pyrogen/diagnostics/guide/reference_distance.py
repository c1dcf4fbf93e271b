"""Errors of a guide's means and standard deviations, against reference draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.guide.reference_mcmc import Reference


@dataclass(frozen=True)
class ReferenceDistance:
    """Errors of a site's means and standard deviations, in standard deviations of the reference.

    Args:
        mean: (mean - reference mean) / reference sd, of the latent's shape.
        sd: sd / reference sd - 1, of the latent's shape; at -0.3 a guide is 30 % too narrow.
    """

    mean: Estimates
    sd: Estimates

    def __str__(self) -> str:
        mean, sd = np.abs(self.mean.value), self.sd.value
        return f"means off by up to {np.max(mean):.2g} sd, sds by {np.min(sd):+.1%} to {np.max(sd):+.1%}"


def against_reference(
    draws: Mapping[str, Any], reference: Reference | Mapping[str, Any]
) -> dict[str, ReferenceDistance]:
    """Compare means and standard deviations of independent draws with those of reference draws.

    Args:
        draws: by site, (draws, ...), as `pyrogen.inference.posterior` gives them.
        reference: `sample_reference`'s, or by site, (chains, draws, ...), of any sampler.

    Returns:
        By site of the reference. Errors are of the draws and of the reference, its autocorrelation included.

    Raises:
        ValueError: a site of the reference is missing, has another shape, or fewer than four draws.

    Example:
        >>> print(against_reference({"z": torch.randn(1000) * 2}, {"z": torch.randn(4, 1000)})["z"])
        means off by up to ... sd, sds by ...
    """
    references = reference.draws if isinstance(reference, Reference) else reference
    distances = {}
    for name, exact in references.items():
        if name not in draws:
            raise ValueError(f"draws: there is no site '{name}' (have: {', '.join(draws)})")
        mine, theirs = (np.asarray(torch.as_tensor(d).cpu(), dtype=np.float64) for d in (draws[name], exact))
        if mine.shape[1:] != theirs.shape[2:] or min(len(mine), theirs.shape[1]) < 4:
            raise ValueError(
                f"site '{name}': expected draws (draws, ...) and reference (chains, draws, ...), four draws at least, "
                f"got shapes {mine.shape} and {theirs.shape}"
            )
        distances[name] = _distance(mine, theirs)
    return distances


def _distance(mine: Array, theirs: Array) -> ReferenceDistance:
    from arviz_stats.base.array import array_stats

    pooled = theirs.reshape(-1, *theirs.shape[2:])
    spread, own = pooled.std(0, ddof=1), mine.std(0, ddof=1)
    of_mean, of_sd = (array_stats.mcse(theirs, chain_axis=0, draw_axis=1, method=m) / spread for m in ("mean", "sd"))
    ratio = own / spread
    kurtosis = ((mine - mine.mean(0)) ** 4).mean(0) / own**4
    own_sd_error = ratio * np.sqrt(np.maximum(kurtosis - 1, 0) / (4 * len(mine)))
    mean = Estimates((mine.mean(0) - pooled.mean(0)) / spread, np.hypot(ratio / np.sqrt(len(mine)), of_mean))
    return ReferenceDistance(mean, Estimates(ratio - 1, np.hypot(own_sd_error, ratio * of_sd)))
