"""Simulation-based calibration of an amortized guide, and TARP: ranks of true latents among draws of the guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.program_structure import ProgramStructure, analyze_program
from pyrogen.diagnostics.core.row_blocks import accepts_any_rows, analyze_row_blocks, select_rows
from pyrogen.diagnostics.guide.rank_uniformity import normal_scores, rank_band, rank_p_values
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.encode_decode import rows_first
from pyrogen.story import Batch, Story

if TYPE_CHECKING:
    import xarray


LEVELS = (0.5, 0.8, 0.9, 0.95)
_MAX_LATENTS = 64
"""Number of latents up to which correlations of all pairs are computed."""


@dataclass(frozen=True)
class Calibration:
    """Ranks of true latents among draws from the guide, uniform on 0, ..., draws if it is the posterior.

    Args:
        ranks: by site, (n, *latent shape): how many of the draws lie below the true value.
        tarp: (n,): how many of the draws of all latents together lie closer to a random point than the true ones.
        draws: L for each of the n simulated data.
        dependence: (K, K), for the K latents of all sites: the correlation of two latents' normal scores, that of the
            true values less that of the draws, 0 if the guide is the posterior. None, the default, for more than 64
            latents.
    """

    ranks: dict[str, Array]
    tarp: Array
    draws: int
    dependence: Estimates | None = None

    @property
    def p_values(self) -> dict[str, Array]:
        """By site, (*latent shape): p-values of uniform ranks, see `rank_p_values`."""
        return {name: rank_p_values(ranks, self.draws + 1) for name, ranks in self.ranks.items()}

    @property
    def tarp_p_value(self) -> float:
        """The p-value of uniform TARP ranks."""
        return float(rank_p_values(self.tarp, self.draws + 1))

    @property
    def p_value(self) -> float:
        """The p-value of all ranks being uniform: the smallest one times their number (Bonferroni)."""
        p_values = [self.tarp_p_value, *(p for values in self.p_values.values() for p in values.flat)]
        return min(1.0, min(p_values) * len(p_values))

    def coverage(self, levels: Sequence[float] = LEVELS) -> dict[str, Estimates]:
        """How often central intervals of the guide contain the true value; `levels` if calibrated.

        Args:
            levels: probabilities of the intervals; 0.5, 0.8, 0.9 and 0.95 by default.

        Returns:
            By site, (levels, *latent shape).
        """
        # A rank stands for a cell of the unit interval, which a central interval may contain in part.
        cells = self.draws + 1
        ends = [((1 - level) / 2 * cells, (1 + level) / 2 * cells) for level in levels]
        contained = {
            name: [np.clip(high - ranks, 0, 1) - np.clip(low - ranks, 0, 1) for low, high in ends]
            for name, ranks in self.ranks.items()
        }
        return {name: Estimates.of_draws(np.stack(shares, 1)) for name, shares in contained.items()}

    def tarp_coverage(self, levels: Sequence[float] = LEVELS) -> Estimates:
        """How often a ball around a random point contains the true value; `levels` if calibrated.

        Args:
            levels: share of the guide's draws in the ball; 0.5, 0.8, 0.9 and 0.95 by default.

        Returns:
            (levels,).
        """
        cells = self.draws + 1
        return Estimates.of_draws(np.stack([np.clip(level * cells - self.tarp, 0, 1) for level in levels], 1))

    @property
    def shift(self) -> dict[str, Estimates]:
        """By site, (*latent shape): mean normal score of the true values, above 0 where the guide's mean is too low.

        Where guide and posterior are normal, it is in standard deviations of the guide.
        """
        return {name: Estimates.of_draws(normal_scores(ranks, self.draws + 1)) for name, ranks in self.ranks.items()}

    def band(self, level: float = 0.95) -> tuple[Array, Array, Array]:
        """The band that contains the empirical distribution function of one latent's ranks if it is calibrated.

        Args:
            level: probability that the whole function lies in the band, 0.95 by default.

        Returns:
            Cuts in (0, 1), and the lower and upper bound at each; see `rank_band`.
        """
        return rank_band(len(self.tarp), self.draws + 1, level)

    def to_datatree(self) -> xarray.DataTree:
        """Ranks over draws, for `arviz_plots.plot_ecdf_pit`.

        Returns:
            A tree with the group `prior_sbc`.
        """
        from arviz_base import from_dict

        pit = {name: (ranks[None] + 0.5) / (self.draws + 1) for name, ranks in self.ranks.items()}
        return from_dict({"prior_sbc": pit})

    def __str__(self) -> str:
        coverage = {name: estimates.value for name, estimates in self.coverage([0.8]).items()}
        ranges = ", ".join(f"{name} {c.min():.1%} to {c.max():.1%}" for name, c in coverage.items())
        return f"p = {self.p_value:.2g} on {len(self.tarp)} simulated data; coverage of 80 % intervals: {ranges}"


def check_calibration(
    fitted: Any, data: Any, *, simulations: Count = 1000, draws: Count = 99, seed: Seed = 0
) -> Calibration:
    """Simulate latents and data, z, x ~ p(z) p(x | z), and rank z among draws from q(z | x).

    No refit is needed, for an amortized guide gives a posterior for any x. The data are the model's: on real data that
    differ from them, calibration may differ. Neither ranks nor TARP, whose reference points are drawn from the prior,
    detect a guide that ignores x and is the prior; `elbo_surgery` and active units do.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them, for their shapes and the values of columns that are conditioned on.
        simulations: number of data to simulate, 1,000 by default.
        draws: draws L from the guide for each, 99 by default.
        seed: of simulations and draws, 0 by default.

    Returns:
        The ranks.

    Raises:
        ValueError: `simulations` or `draws` is below 1; the guide is not amortized (latents are shared by data, or it
            fixes its rows), so that each simulated data set would take a fit; or an observed site is no column of the
            data.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> calibration = check_calibration(PPCA(4, latent=2).maximum_likelihood(x), x)
        >>> calibration.ranks["z"].shape, bool(calibration.p_value > 0.001)
        ((1000, 2), True)

    References:
        Talts, Betancourt, Simpson, Vehtari, Gelman 2018, arXiv:1804.06788; Säilynoja, Bürkner, Vehtari 2022,
        arXiv:2103.10522; Lemos, Coogan, Hezaveh, Perreault-Levasseur 2023, arXiv:2302.03026 (TARP).
    """
    if simulations < 1 or draws < 1:
        raise ValueError(f"simulations and draws must be at least 1, got {simulations} and {draws}")
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("guide")
        story.require("sample")
        batch = context.batch(data)
        _require_amortized(story, batch)
        simulated = select_rows(batch, torch.randperm(simulations, device=story.device) % batch.n)
        blocks = analyze_row_blocks(story, simulated, 1, draws_in_memory=draws)
        ranks, tarp, scores = zip(*(_ranks(block, draws) for block in blocks), strict=True)
    by_site = {name: np.concatenate([block[name] for block in ranks]) for name in ranks[0]}
    dependence = None if scores[0] is None else _dependence(*map(np.concatenate, zip(*scores, strict=True)))
    return Calibration(by_site, np.concatenate(tarp), draws, dependence)


def _require_amortized(story: Story, batch: Batch) -> None:
    structure = analyze_program(story, batch)
    if not structure.latents or not structure.guide_is_complete:
        raise ValueError(f"{story.name}: its guide draws no latents that could be ranked")
    if not accepts_any_rows(story, batch, 2):
        raise ValueError(
            f"{story.name}: its guide is not amortized (latents are shared by data, or it fixes its rows), so that "
            "every simulated data set would take a fit of its own: compare it with sample_reference instead"
        )


def _ranks(structure: ProgramStructure, draws: int) -> tuple[dict[str, Array], Array, tuple[Array, Array] | None]:
    """Ranks by site, those of TARP, and normal scores, for one simulated datum for each row."""
    observed = structure.run()[1]
    simulated, elsewhere = structure.trace_prior(), structure.trace_prior()
    batch = structure.with_simulated(observed, simulated).repeated(draws)
    guide: Any = poutine.trace(structure.guide).get_trace(batch)

    def latents(trace: Any) -> dict[str, Tensor]:
        sites = {name: trace.nodes[name] for name in structure.latents}
        return {name: rows_first(site["value"], site, structure.plate) for name, site in sites.items()}

    drawn = {name: value.unflatten(0, (draws, -1)) for name, value in latents(guide).items()}
    true, reference = latents(simulated), _flatten(latents(elsewhere), 1)
    ranks = {name: _rank(drawn[name], value) for name, value in true.items()}
    scale = reference.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    flat, true_flat = _flatten(drawn, 2), _flatten(true, 1)
    distances = (((z - reference) / scale).square().sum(-1) for z in (flat, true_flat))
    few = flat.shape[-1] <= _MAX_LATENTS
    return ranks, _rank(*distances), _scores(flat, true_flat) if few else None


def _scores(drawn: Tensor, true: Tensor) -> tuple[Array, Array]:
    """Normal scores of the true latents among all, (n, K), and the mean product over the draws of theirs, (n, K, K)."""
    pool = torch.cat([true[None], drawn])
    shuffled = torch.randperm(len(pool), device=pool.device)  # ties are broken at random
    ranks = pool[shuffled].argsort(dim=0, stable=True).argsort(dim=0)[shuffled.argsort()]
    scores = normal_scores(ranks.cpu().numpy(), len(pool))
    return scores[0], np.einsum("lni,lnj->nij", scores[1:], scores[1:], optimize=True) / len(drawn)


def _dependence(true: Array, drawn: Array) -> Estimates:
    """Correlations (K, K) of the true scores (n, K) less those of the draws, whose mean products are (n, K, K)."""
    a = (true - true.mean(0)) / true.std(0)
    guide = drawn / drawn.diagonal(axis1=1, axis2=2).mean()
    product, square = a[:, :, None] * a[:, None], a**2
    correlation = product.mean(0)
    # The influence of a datum on a correlation, to first order.
    influence = product - correlation * (square[:, :, None] + square[:, None]) / 2 - guide
    return Estimates(correlation - guide.mean(0), Estimates.of_draws(influence).error)


def _flatten(values: dict[str, Tensor], lead: int) -> Tensor:
    """All latents of a datum as one vector, after `lead` dimensions."""
    return torch.cat([v.reshape(*v.shape[:lead], -1) for v in values.values()], -1)


def _rank(drawn: Tensor, true: Tensor) -> Array:
    """The number of draws, in the first dimension, below the true value; ties are broken at random."""
    below, equal = (drawn < true).sum(0), (drawn == true).sum(0)
    return np.asarray((below + (torch.rand(below.shape) * (equal + 1)).long()).cpu())
