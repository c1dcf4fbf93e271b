"""Moments of the posterior with the guide's error taken out by weighing its draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import shelved
from pyrogen.diagnostics.guide.importance import khat_threshold, smoothed
from pyrogen.inference import evaluation_context
from pyrogen.inference.program.row_log_weights import NoWeights

__all__ = ["Expectation", "corrected_expectations"]

Draws = dict[str, Tensor]


@dataclass(frozen=True)
class Expectation:
    """The mean of a function of a datum's latents.

    Args:
        guide: under the guide, (N, ...).
        corrected: under the posterior, by Pareto smoothed weights, (N, ...); not to be trusted where k-hat is high.
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
    fitted: Any,
    data: Any,
    functions: Mapping[str, Callable[[Draws], Tensor]] | None = None,
    num_samples: int = 1000,
    *,
    seed: int = 0,
) -> dict[str, Expectation]:
    r"""$E_{p(z|x)} f(z) \approx \sum_s \bar w_s f(z_s)$, with Pareto smoothed weights of draws from the guide.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        functions: by name, of the draws by site, each (S, n, ...) for some n of the data at a time; they give (S, n,
            ...). None: the latents themselves.
        num_samples: draws S for each datum.
        seed: of the draws.

    Returns:
        By name of the function. Errors are those of a ratio of means, which neglect the bias, of order 1/S.

    Raises:
        NoWeights (a ValueError): not every latent belongs to a datum, and is drawn by the guide.
        ValueError: a function gives another shape than (S, N, ...).

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
    parts: list[dict[str, Expectation]] = []
    with evaluation_context(fitted, seed) as context:
        story = context.story
        batch = context.batch(data)
        for shelf, rows in shelved(story, batch, {"posterior", "importance"}, num_samples, held=num_samples):
            if "importance" not in shelf.groups or "posterior" not in shelf.groups:
                raise NoWeights(
                    f"{story.name}: the draws of a datum have no weights of their own, for some latents are shared by "
                    "data, or not drawn by the guide: use importance_weights on the training data"
                )
            found = shelf.groups["posterior"].items()
            draws = {name: _by_row(v.values[0], v.dims.index(rows)) for name, v in found if rows in v.dims}
            parts.append(_weighed(draws, functions, shelf.groups["importance"]["log_weight"].values[0]))
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _by_row(values: Array, axis: int) -> Tensor:
    return torch.from_numpy(np.moveaxis(values, axis + 1, 1))


def _weighed(
    draws: Draws, functions: Mapping[str, Callable[[Draws], Tensor]] | None, log_weights: Array
) -> dict[str, Expectation]:
    log_smooth, khat = smoothed(log_weights)
    threshold = khat_threshold(len(log_weights))
    values = draws if functions is None else {name: function(draws) for name, function in functions.items()}
    found = {}
    for name, value in values.items():
        f = torch.as_tensor(value).numpy().astype(np.float64)
        if f.shape[:2] != log_weights.shape:
            raise ValueError(f"functions: '{name}' gives shape {f.shape}, expected {log_weights.shape} and more")
        w = np.exp(log_smooth).reshape(*log_weights.shape, *[1] * (f.ndim - 2))
        mean = (w * f).sum(0)
        error = np.sqrt((w**2 * (f - mean) ** 2).sum(0))
        found[name] = Expectation(Estimates.of_draws(f), Estimates(mean, error), khat, threshold)
    return found


def _joined(parts: list[Expectation]) -> Expectation:
    guide, corrected = (Estimates.joined(getattr(part, which) for part in parts) for which in ("guide", "corrected"))
    return Expectation(guide, corrected, np.concatenate([part.khat for part in parts]), parts[0].threshold)
