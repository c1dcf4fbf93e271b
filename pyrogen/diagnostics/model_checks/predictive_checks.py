"""Predictive checks: statistics of the data among those of replicated data sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.program_structure import ProgramStructure
from pyrogen.diagnostics.core.row_blocks import analyze_row_blocks
from pyrogen.diagnostics.model_checks.misfit import Misfit
from pyrogen.diagnostics.model_checks.misfit_statistics import standard_score
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.encode_decode import one_or_all

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
        """P(T(x_rep) > T(x)), ties half; near 0 or 1 where such data are improbable under the model."""
        above, equal = (self.replicated > self.observed).sum(0), (self.replicated == self.observed).sum(0)
        return Estimates.of_counts(above + equal / 2, len(self.replicated))

    @property
    def two_sided(self) -> Array:
        """2 min(p, 1 - p)."""
        p = self.p_value.value
        return np.asarray(2 * np.minimum(p, 1 - p))

    def misfits(self, name: str) -> list[Misfit]:
        """Each number of the statistic among those of the replications, as of a misfit.

        Args:
            name: of the statistic.

        Returns:
            One for each number; the score allows for an exponential tail on either side, and replications that are few.
        """
        found = []
        for place in np.ndindex(self.observed.shape):
            values = np.r_[float(self.observed[place]), self.replicated[(slice(None), *place)].astype(np.float64)]
            score = min(standard_score(values, extreme=True), 99.0)
            below = min(standard_score(-values, extreme=True), 99.0)
            label = name if not place else f"{name}[{', '.join(map(str, place))}]"
            observed, expected, spread = values[0], values[1:].mean(), values[1:].std()
            message = f"{label} is {observed:.3g}, and the model expects {expected:.3g} (sd {spread:.2g})"
            found.append(Misfit(label, observed, expected, score if score > 0 else -below, message))
        return found

    def __str__(self) -> str:
        replicated = f"{self.replicated.mean():.4g} (sd {self.replicated.std(0).mean():.2g})"
        return f"observed {self.observed.mean():.4g}, replicated {replicated}, p = {self.p_value}"


def predictive_check(
    fitted: Any,
    data: Any,
    statistics: Mapping[str, Statistic],
    num_samples: Count = 200,
    *,
    under: Literal["posterior", "prior"] = "posterior",
    seed: Seed = 0,
) -> dict[str, PredictiveCheck]:
    """Compare statistics of the data with those of replicated data sets of the same size.

    Replications under the posterior draw latents from the guide given the same data: p-values are then not uniform
    under a right model, but nearer to 1/2. Under the prior, with all parameters known, they are uniform. Latents that
    are summed out are drawn from the model in both.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        statistics: by name, functions of a whole data set: of the observed site's values, or of a dict by site where
            several are observed. They return a number, or an array of one shape.
        num_samples: replications S, 200 by default.
        under: "posterior", the default, draws latents from the guide, "prior" from the model.
        seed: of the draws, 0 by default.

    Returns:
        The check of each statistic, by name.

    Raises:
        ValueError: `under` or `num_samples` is out of range, or under the posterior the guide does not draw every
            latent.

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
        blocks = list(analyze_row_blocks(story, context.batch(data), num_samples))
        if under == "posterior" and not blocks[0].guide_is_complete:
            raise ValueError(f"{story.name}: its guide does not draw every latent: pass under='prior'")
        data_set = next(_data_sets([block.run()[1] for block in blocks], blocks))
        replicated: list[dict[str, Array]] = []
        while len(replicated) < num_samples:
            data_sets = _data_sets([_replicate(block, under) for block in blocks], blocks)
            missing = num_samples - len(replicated)
            replicated += [_values(statistics, sites) for sites in itertools.islice(data_sets, missing)]
    observed = _values(statistics, data_set)
    return {name: PredictiveCheck(observed[name], np.stack([r[name] for r in replicated])) for name in statistics}


def _replicate(block: ProgramStructure, under: str) -> Any:
    """A trace of the model with new data."""
    return block.trace_predictive(poutine.trace(block.guide).get_trace(block.batch) if under == "posterior" else None)


def _values(statistics: Mapping[str, Statistic], sites: dict[str, Tensor]) -> dict[str, Array]:
    return {name: torch.as_tensor(t(one_or_all(sites))).double().cpu().numpy() for name, t in statistics.items()}


def _data_sets(traces: list[Any], blocks: list[ProgramStructure]) -> Iterator[dict[str, Tensor]]:
    """The observed sites of all data, from a trace of each block; as many data sets as one run makes."""
    joined = {name: _joined(name, traces, blocks) for name in blocks[0].observed}
    return ({name: values[i] for name, values in joined.items()} for i in range(blocks[0].draws_per_run))


def _joined(name: str, traces: list[Any], blocks: list[ProgramStructure]) -> Tensor:
    """The draws of a site, all rows together."""
    draws = [block.draws_of(trace.nodes[name]) for trace, block in zip(traces, blocks, strict=True)]
    values, dims = draws[0]
    return values if len(draws) == 1 else torch.cat([v for v, _ in draws], 1 + dims.index(blocks[0].plate.name))
