"""Moments of each datum's latents under the guide and under the posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.datatree import DrawArrays
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import draw_row_blocks
from pyrogen.diagnostics.guide.corrected_moments import change_of_mean
from pyrogen.diagnostics.guide.pareto_smoothing import pareto_smooth
from pyrogen.inference import NoWeights, evaluation_context

_MAX_LATENTS = 16
"""Number of latents up to which correlations of all pairs are computed."""


@dataclass(frozen=True)
class DatumMoments:
    """Moments of K latents of each of N data under the guide and under the posterior, from the same draws.

    Args:
        names: of the latents, (K,).
        shift: (N, K) (posterior mean - guide's mean) / guide's standard deviation.
        width: (N, K) the guide's standard deviation over the posterior's, less 1.
        dependence: (N, K, K) the posterior's correlations less the guide's; None, the default, for one latent or more
            than 16.
    """

    names: tuple[str, ...]
    shift: Estimates
    width: Estimates
    dependence: Estimates | None = None

    @property
    def rms_shift(self) -> Estimates:
        """The root mean square of the shift over data, without the share of its Monte Carlo error, (K,)."""
        return _root_mean_square(self.shift)

    @property
    def rms_log_width(self) -> Estimates:
        """The root mean square over data of log(guide's sd / posterior's), without the share of its error, (K,)."""
        ratio = 1 + self.width.value
        return _root_mean_square(Estimates(np.log(ratio), self.width.error / ratio))

    @property
    def rms_dependence(self) -> Estimates | None:
        """The root mean square over data of the difference of correlations, without the share of its error, (K, K)."""
        return None if self.dependence is None else _root_mean_square(self.dependence)

    def __str__(self) -> str:
        shift, width = float(self.rms_shift.value.max()), float(self.rms_log_width.value.max())
        return f"means off by {shift:.2g} sd, sds by {width:.0%} (root mean square over {len(self.shift.value)} data)"


def datum_moments(fitted: Any, data: Any, num_samples: Count = 1000, *, seed: Seed = 0) -> DatumMoments:
    """Compare the guide's moments of each datum's latents with those under Pareto smoothed weights of its draws.

    Errors whose sign varies by datum, which cancel in ranks that are pooled over data, are seen here.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained, with latents of each datum.
        data: columns as `fit` takes them.
        num_samples: draws S for each datum, 1,000 by default.
        seed: of the draws, 0 by default.

    Returns:
        The moments of all latents that the guide does not hold constant.

    Raises:
        NoWeights: draws of a datum have no weights of their own.
        ValueError: the guide holds all latents constant.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(20, 4)
        >>> moments = datum_moments(PPCA(4, latent=2).maximum_likelihood(x), x, 200)
        >>> moments.shift.value.shape, bool(moments.rms_shift.value.max() < 0.01)  # an exact guide
        ((20, 2), True)
    """
    parts: list[tuple[Estimates, Estimates, Estimates | None]] = []
    with evaluation_context(fitted, seed) as context:
        story, batch = context.story, context.batch(data)
        for arrays in draw_row_blocks(story, batch, {"posterior", "importance"}, num_samples, num_samples):
            if not {"posterior", "importance"} <= set(arrays.groups):
                raise NoWeights(f"{story.name}: the draws of a datum have no weights of their own")
            z, names = _latents_of_rows(arrays)
            parts.append(_moments(z, arrays.groups["importance"]["log_weight"].values[0]))
    shift, width, dependence = zip(*parts, strict=True)
    known = [part for part in dependence if part is not None]
    correlations = Estimates.joined(known) if known else None
    return DatumMoments(names, Estimates.joined(shift), Estimates.joined(width), correlations)


def _latents_of_rows(arrays: DrawArrays) -> tuple[Array, tuple[str, ...]]:
    """The latents of each row, (S, n, K), and their names."""
    draws, names = [], []
    for name, site in arrays.groups["posterior"].items():
        if arrays.rows in site.dims:
            value = np.moveaxis(site.values[0], site.dims.index(arrays.rows) + 1, 1)
            names += [f"{name}{list(i) if i else ''}" for i in np.ndindex(value.shape[2:])]
            draws.append(value.reshape(*value.shape[:2], -1).astype(np.float64))
    return np.concatenate(draws, 2), tuple(names)


def _moments(draws: Array, log_weights: Array) -> tuple[Estimates, Estimates, Estimates | None]:
    """Shifts and widths, (n, K), and differences of correlations, (n, K, K), of some rows; 0 where nothing varies."""
    spread = draws.std(0)
    z = (draws - draws.mean(0)) / np.where(spread > 0, spread, 1.0)
    w = np.exp(pareto_smooth(log_weights)[0])[..., None]
    shift = change_of_mean(w, z)
    deviations = z - shift.value
    variance = (w * deviations**2).sum(0)
    error = change_of_mean(w, deviations**2).error / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        width = Estimates(variance**-0.5 - 1, error * variance**-1.5)
        few = 1 < draws.shape[2] <= _MAX_LATENTS
        dependence = _change_of_correlations(w, z, deviations / np.sqrt(variance)) if few else None
    varies = spread > 0
    pairs = varies[:, :, None] & varies[:, None]
    return _where(varies, shift), _where(varies, width), None if dependence is None else _where(pairs, dependence)


def _change_of_correlations(w: Array, guide: Array, posterior: Array) -> Estimates:
    """Correlations of each row's latents under weights (S, n, 1) less those under the guide, (n, K, K)."""

    def sums(weights: Array, values: Array) -> Array:
        return np.asarray(np.einsum("sn,sni,snj->nij", weights, values, values, optimize=True))

    w = w[..., 0]
    correlation = sums(w, posterior)
    change = (w - 1 / len(w)) ** 2
    # The sum over draws of change * (product - correlation)^2.
    square = sums(change, posterior**2) - 2 * correlation * sums(change, posterior)
    square = square + change.sum(0)[:, None, None] * correlation**2
    return Estimates(correlation - sums(np.full_like(w, 1 / len(w)), guide), np.sqrt(np.maximum(square, 0.0)))


def _where(varies: Array, estimates: Estimates) -> Estimates:
    return Estimates(np.where(varies, estimates.value, 0.0), np.where(varies, estimates.error, 0.0))


def _root_mean_square(estimates: Estimates) -> Estimates:
    """The root of the mean over data of squares less squared errors, (K,)."""
    squares = np.square(estimates.value) - np.square(np.nan_to_num(estimates.error))
    mean, error = squares.mean(0), squares.std(0, ddof=1) / np.sqrt(len(squares))
    root = np.sqrt(np.maximum(mean, 0.0))
    return Estimates(root, error / (2 * np.maximum(root, np.sqrt(error))))
