"""Moments of each datum's latents under the guide and under the posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import draw_row_blocks
from pyrogen.diagnostics.guide.corrected_moments import change_of_mean
from pyrogen.diagnostics.guide.importance import pareto_smooth
from pyrogen.inference import NoWeights, evaluation_context


@dataclass(frozen=True)
class DatumMoments:
    """Moments of K latents of each of N data under the guide and under the posterior, from the same draws.

    Args:
        names: of the latents, (K,).
        shift: (N, K) (posterior mean - guide's mean) / guide's standard deviation.
        width: (N, K) the guide's standard deviation over the posterior's, less 1.
    """

    names: tuple[str, ...]
    shift: Estimates
    width: Estimates

    @property
    def rms_shift(self) -> Estimates:
        """The root mean square of the shift over data, without the share of its Monte Carlo error, (K,)."""
        return _root_mean_square(self.shift)

    @property
    def rms_log_width(self) -> Estimates:
        """The root mean square over data of log(guide's sd / posterior's), without the share of its error, (K,)."""
        ratio = 1 + self.width.value
        return _root_mean_square(Estimates(np.log(ratio), self.width.error / ratio))

    def __str__(self) -> str:
        shift, width = float(self.rms_shift.value.max()), float(self.rms_log_width.value.max())
        return f"means off by {shift:.2g} sd, sds by {width:.0%} (root mean square over {len(self.shift.value)} data)"


def datum_moments(fitted: Any, data: Any, num_samples: int = 1000, *, seed: int = 0) -> DatumMoments:
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
    shifts: list[Estimates] = []
    widths: list[Estimates] = []
    names: tuple[str, ...] = ()
    with evaluation_context(fitted, seed) as context:
        story, batch = context.story, context.batch(data)
        for arrays in draw_row_blocks(story, batch, {"posterior", "importance"}, num_samples, num_samples):
            if not {"posterior", "importance"} <= set(arrays.groups):
                raise NoWeights(f"{story.name}: the draws of a datum have no weights of their own")
            draws: list[Array] = []
            found: list[str] = []
            for name, site in arrays.groups["posterior"].items():
                if arrays.rows in site.dims:
                    value = np.moveaxis(site.values[0], site.dims.index(arrays.rows) + 1, 1)
                    found += [f"{name}{list(i) if i else ''}" for i in np.ndindex(value.shape[2:])]
                    draws.append(value.reshape(*value.shape[:2], -1).astype(np.float64))
            z, names = np.concatenate(draws, 2), tuple(found)
            spread = z.std(0)
            z = (z - z.mean(0)) / np.where(spread > 0, spread, 1.0)
            w = np.exp(pareto_smooth(arrays.groups["importance"]["log_weight"].values[0])[0])[..., None]
            shift = change_of_mean(w, z)
            variance = (w * (z - shift.value) ** 2).sum(0)
            error = change_of_mean(w, (z - shift.value) ** 2).error / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                width = Estimates(variance**-0.5 - 1, error * variance**-1.5)
            varies = spread > 0
            shifts.append(Estimates(np.where(varies, shift.value, 0.0), np.where(varies, shift.error, 0.0)))
            widths.append(Estimates(np.where(varies, width.value, 0.0), np.where(varies, width.error, 0.0)))
    return DatumMoments(names, Estimates.joined(shifts), Estimates.joined(widths))


def _root_mean_square(estimates: Estimates) -> Estimates:
    """The root of the mean over data of squares less squared errors, (K,)."""
    squares = np.square(estimates.value) - np.square(np.nan_to_num(estimates.error))
    mean, error = squares.mean(0), squares.std(0, ddof=1) / np.sqrt(len(squares))
    root = np.sqrt(np.maximum(mean, 0.0))
    return Estimates(root, error / (2 * np.maximum(root, np.sqrt(error))))
