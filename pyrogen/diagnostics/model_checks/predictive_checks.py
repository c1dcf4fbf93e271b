"""Whether data that the model makes look like the data it is given, by statistics that the user names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import anatomies, new_data
from pyrogen.diagnostics.core.program_structure import Anatomy
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.encode_decode import one_or_all

__all__ = ["PredictiveCheck", "predictive_check"]

Statistic = Callable[[Any], Any]


@dataclass(frozen=True)
class PredictiveCheck:
    """A statistic of the data among that of replications.

    Args:
        observed: T(x), of any shape.
        replicated: (S, ...) T(x_rep).
    """

    observed: Array
    replicated: Array

    @property
    def p_value(self) -> Estimates:
        """P(T(x_rep) >= T(x)), of equal values half; near 0 or 1 the model does not make such data."""
        above, equal = (self.replicated > self.observed).sum(0), (self.replicated == self.observed).sum(0)
        return Estimates.of_counts(above + equal / 2, len(self.replicated))

    @property
    def two_sided(self) -> Array:
        """2 min(p, 1 - p)."""
        p = self.p_value.value
        both: Array = 2 * np.minimum(p, 1 - p)
        return both

    def __str__(self) -> str:
        replicated = f"{self.replicated.mean():.4g} (sd {self.replicated.std(0).mean():.2g})"
        return f"observed {self.observed.mean():.4g}, replicated {replicated}, p = {self.p_value}"


def predictive_check(
    fitted: Any,
    data: Any,
    statistics: Mapping[str, Statistic],
    num_samples: int = 200,
    *,
    under: Literal["posterior", "prior"] = "posterior",
    seed: int = 0,
) -> dict[str, PredictiveCheck]:
    """Compare statistics of the data with those of replicated data sets of the same size.

    Replications under the posterior have latents drawn from the guide given the data, so that they have seen them:
    p-values are then not uniform under a right model, but nearer to 1/2. Under the prior, with all parameters known,
    they are uniform. Latents that are summed out are drawn from the model in both.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        statistics: by name, functions of a whole data set: of the observed site's values, or of a dict by site where
            several are observed. They give a number, or several in one shape.
        num_samples: replications S.
        under: where latents come from, the guide or the model.
        seed: of the draws.

    Raises:
        ValueError: the story declines to sample, or the guide does not draw every latent.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> check = predictive_check(PPCA(4, latent=2).maximum_likelihood(x), x, {"largest": torch.max})["largest"]
        >>> check.replicated.shape, bool(0 < check.p_value.value < 1)
        ((200,), True)

    References:
        Box 1980, JRSS A 143(4); Gelman, Meng, Stern 1996, Statistica Sinica 6(4).
    """
    if under not in ("posterior", "prior"):
        raise ValueError(f"under is 'posterior' or 'prior', got {under!r}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("sample")
        pieces = list(anatomies(story, context.batch(data), num_samples))
        if under == "posterior" and not pieces[0].guided:
            raise ValueError(f"{story.name}: its guide does not draw every latent: pass under='prior'")
        seen = next(_data_sets([anatomy.run()[1] for anatomy in pieces], pieces))
        runs = ([_replicated(a, under) for a in pieces] for _ in range(0, num_samples, pieces[0].times))
        made = itertools.islice(itertools.chain.from_iterable(_data_sets(run, pieces) for run in runs), num_samples)
        replicated = [_values(statistics, sites) for sites in made]
    observed = _values(statistics, seen)
    return {name: PredictiveCheck(observed[name], np.stack([r[name] for r in replicated])) for name in statistics}


def _replicated(anatomy: Anatomy, under: str) -> Any:
    """A trace of the model with new data."""
    if under == "prior":
        return new_data(anatomy, anatomy.model)
    guide = poutine.trace(anatomy.guide).get_trace(anatomy.batch)
    return new_data(anatomy, poutine.replay(anatomy.model, trace=guide))


def _values(statistics: Mapping[str, Statistic], sites: dict[str, Tensor]) -> dict[str, Array]:
    return {name: torch.as_tensor(t(one_or_all(sites))).double().cpu().numpy() for name, t in statistics.items()}


def _data_sets(traces: list[Any], pieces: list[Anatomy]) -> Iterator[dict[str, Tensor]]:
    """The observed sites of all data, from a trace of each piece; as many data sets as one run makes."""
    joined = {name: _joined(name, traces, pieces) for name in pieces[0].observed}
    return ({name: values[i] for name, values in joined.items()} for i in range(pieces[0].times))


def _joined(name: str, traces: list[Any], pieces: list[Anatomy]) -> Tensor:
    found = [anatomy.draws(trace.nodes[name]) for trace, anatomy in zip(traces, pieces, strict=True)]
    values, names = found[0]
    return values if len(found) == 1 else torch.cat([v for v, _ in found], 1 + names.index(pieces[0].plate.name))
