"""Moments and expectations of the posterior, from draws of the guide corrected by their importance weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import draw_row_blocks
from pyrogen.diagnostics.core.shared_draws import SharedDraws, SharedSampler
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.diagnostics.guide.pareto_smoothing import khat_threshold, pareto_smooth
from pyrogen.inference import NoWeights, evaluation_context

Draws = dict[str, Tensor]
Functions = Mapping[str, Callable[[Draws], Tensor]]

_PRECISION, _SMALL = 0.015, 0.15
"""Standard error of a moment's difference that suffices, and a difference below which none is needed."""

_MAX_LATENTS = 64
"""Number of latents up to which correlations of all pairs are computed."""


@dataclass(frozen=True)
class Moments:
    """Moments of K latents under the guide and under the posterior, from the same draws.

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

    @property
    def precise(self) -> bool:
        """Whether more draws would hardly change a verdict.

        That is where k-hat is not within its error of the threshold, and, unless it is above, no difference has an
        error above .015 and a twentieth of itself but those that are surely small, below .15 by three errors.
        """
        if self.weights.undecided[0]:
            return False
        if self.weights.unreliable[0] and not self.weights.sufficient[0]:
            return True
        parts = [self.shift, self.width, *([] if self.dependence is None else [self.dependence])]
        sizes = [np.abs(part.value) for part in parts]
        known = [part.error <= np.maximum(_PRECISION, size / 20) for part, size in zip(parts, sizes, strict=True)]
        small = [size + 3 * part.error < _SMALL for part, size in zip(parts, sizes, strict=True)]
        return all(bool((k | s).all()) for k, s in zip(known, small, strict=True))

    def __str__(self) -> str:
        shift, width = np.abs(self.shift.value).max(), self.width.value
        return (
            f"k-hat {self.weights.khat[0]:.2f}; means off by up to {shift:.2g} sd, sds by {width.min():+.1%} to "
            f"{width.max():+.1%}"
        )


def shared_moments(
    fitted: Any, data: Any, num_samples: Count = 4000, *, max_samples: Count | None = None, seed: Seed = 0
) -> Moments:
    """Compare the guide's moments with those under Pareto smoothed weights p(x, z) / q(z) of its draws.

    Where k-hat is above its threshold, the differences are lower bounds: the guide has no draws in parts of the
    posterior. Draws are doubled until `Moments.precise`, or until there are `max_samples`.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained, with latents that data share.
        data: the training data.
        num_samples: draws S at first, 4,000 by default.
        max_samples: the most draws, up to 4 times as many where they are cheap; None, the default: `num_samples`.
        seed: of the draws, 0 by default.

    Returns:
        The moments of all latents that the guide does not hold constant.

    Raises:
        ValueError: the guide does not draw every latent, or always the same value; every latent belongs to a datum; or
            the data are not those of training.

    References:
        Yao, Vehtari, Simpson, Gelman 2018, arXiv:1802.02538.
    """
    with evaluation_context(fitted, seed) as context:
        sampler = SharedSampler(context.story, context.batch(data))
        drawn = sampler.draw(num_samples)
        if (drawn.flat == drawn.flat[0]).all():
            name = context.story.name
            raise ValueError(f"{name}: its guide is a point, all its draws are the same: there is no posterior")
        moments, most = _moments(drawn), 0 if max_samples is None else sampler.affordable(max_samples, len(drawn.names))
        while not moments.precise and (more := min(len(drawn.log_p), most - len(drawn.log_p))) > 0:
            drawn = SharedDraws.joined([drawn, sampler.draw(more)])
            moments = _moments(drawn)
    return moments


def _moments(drawn: SharedDraws) -> Moments:
    weights, draws = ImportanceWeights(drawn.log_weights), drawn.flat
    varies = draws.std(0) > 0
    draws, names = draws[:, varies], list(itertools.compress(drawn.names, varies))
    w = np.exp(pareto_smooth(weights.log_weights)[0])
    z = (draws - draws.mean(0)) / draws.std(0)
    shift = change_of_mean(w, z)
    deviations = z - shift.value
    variance = (w * deviations**2).sum(0)
    with np.errstate(divide="ignore"):
        width_error = change_of_mean(w, deviations**2).error / 2 * variance**-1.5
        width = Estimates(variance**-0.5 - 1, width_error)
    few = len(names) <= _MAX_LATENTS
    dependence = _change_of_correlation(w, z, deviations / np.sqrt(variance)) if few else None
    return Moments(tuple(names), draws, weights, shift, width, dependence)


def change_of_mean(w: Array, f: Array) -> Estimates:
    """The weighted mean of f (S, ...) under w (S, 1) or (S, N, 1) less the plain mean, with the difference's error.

    Args:
        w: weights, (S, 1) or (S, N, 1).
        f: values, of as many dimensions or more.

    Returns:
        Of the shape of a row of `f`.
    """
    w = w.reshape(*w.shape, *[1] * (f.ndim - w.ndim))
    mean = (w * f).sum(0)
    return Estimates(mean - f.mean(0), np.sqrt(((w - 1 / len(f)) ** 2 * (f - mean) ** 2).sum(0)))


def _change_of_correlation(w: Array, guide: Array, posterior: Array) -> Estimates:
    """Correlations of the posterior less those of the guide, from values standardized under each."""
    correlations = (w * posterior).T @ posterior - guide.T @ guide / len(guide)
    error = [change_of_mean(w, posterior * posterior[:, i, None]).error for i in range(posterior.shape[1])]
    return Estimates(correlations, np.stack(error))


@dataclass(frozen=True)
class Expectation:
    """The mean of a function of a datum's latents.

    Args:
        guide: under the guide, (N, ...).
        corrected: under the posterior, by Pareto smoothed weights, (N, ...); unreliable where k-hat is high.
        khat: (N,).
        threshold: of k-hat.
    """

    guide: Estimates
    corrected: Estimates
    khat: Array
    threshold: float

    def __str__(self) -> str:
        bad = f"k-hat above {self.threshold:.2f} for {float((~(self.khat <= self.threshold)).mean()):.1%} of the data"
        return f"guide {self.guide}; corrected {self.corrected}; {bad}"


def corrected_expectations(
    fitted: Any, data: Any, functions: Functions | None = None, num_samples: Count = 1000, *, seed: Seed = 0
) -> dict[str, Expectation]:
    r"""$E_{p(z|x)} f(z) \approx \sum_s \bar w_s f(z_s)$, with Pareto smoothed weights of draws from the guide.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        functions: by name, of the draws by site, each (S, n, ...) for some n of the data at a time; they return (S, n,
            ...). None, the default: the latents themselves.
        num_samples: draws S for each datum, 1,000 by default.
        seed: of the draws, 0 by default.

    Returns:
        By name of the function. Errors are those of a ratio of means, which neglect the bias, of order 1/S.

    Raises:
        NoWeights: a latent is shared by data, or not drawn by the guide.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(20, 4)
        >>> story = PPCA(4, latent=2, guide="meanfield").maximum_likelihood(x)
        >>> product = {"z0 z1": lambda draws: draws["z"][..., 0] * draws["z"][..., 1]}
        >>> corrected_expectations(story, x, product, 100)["z0 z1"].corrected.value.shape
        (20,)

    References:
        Yao, Vehtari, Simpson, Gelman 2018, arXiv:1802.02538.
    """
    blocks: list[dict[str, Expectation]] = []
    with evaluation_context(fitted, seed) as context:
        story, batch = context.story, context.batch(data)
        for arrays in draw_row_blocks(story, batch, {"posterior", "importance"}, num_samples, num_samples):
            if not {"posterior", "importance"} <= set(arrays.groups):
                raise NoWeights(
                    f"{story.name}: the draws of a datum have no weights of their own, for some latents are shared by "
                    "data, or not drawn by the guide: use importance_weights on the training data"
                )
            draws = {
                name: torch.from_numpy(np.moveaxis(site.values[0], site.dims.index(arrays.rows) + 1, 1))
                for name, site in arrays.groups["posterior"].items()
                if arrays.rows in site.dims
            }
            blocks.append(_expectations(draws, functions, arrays.groups["importance"]["log_weight"].values[0]))
    return {name: _joined([block[name] for block in blocks]) for name in blocks[0]}


def _expectations(draws: Draws, functions: Functions | None, log_weights: Array) -> dict[str, Expectation]:
    log_smooth, khat = pareto_smooth(log_weights)
    threshold = khat_threshold(len(log_weights))
    values = draws if functions is None else {name: function(draws) for name, function in functions.items()}
    expectations = {}
    for name, value in values.items():
        f = torch.as_tensor(value).numpy().astype(np.float64)
        if f.shape[:2] != log_weights.shape:
            raise ValueError(f"functions: '{name}' gives shape {f.shape}, expected {log_weights.shape} and more")
        w = np.exp(log_smooth).reshape(*log_weights.shape, *[1] * (f.ndim - 2))
        mean = (w * f).sum(0)
        corrected = Estimates(mean, np.sqrt((w**2 * (f - mean) ** 2).sum(0)))
        expectations[name] = Expectation(Estimates.of_draws(f), corrected, khat, threshold)
    return expectations


def _joined(parts: list[Expectation]) -> Expectation:
    guide, corrected = (Estimates.joined(getattr(part, name) for part in parts) for name in ("guide", "corrected"))
    return Expectation(guide, corrected, np.concatenate([part.khat for part in parts]), parts[0].threshold)
