"""Whether a guide's posteriors are as sure as they may be, on data of which the latents are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import anatomies, from_prior, taken, takes_any_rows, with_new
from pyrogen.diagnostics.core.program_structure import Anatomy, examine
from pyrogen.diagnostics.guide.rank_uniformity import normal_scores, rank_band, rank_p_values
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.encode_decode import rows_first
from pyrogen.story import Batch, Story

if TYPE_CHECKING:
    import xarray

__all__ = ["Calibration", "check_calibration"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
_LATENTS = 64
"""Up to which all pairs of latents are looked at."""


@dataclass(frozen=True)
class Calibration:
    """Ranks of true latents among draws from the guide, uniform on 0, ..., draws if it is the posterior.

    Args:
        ranks: by site, (n, *latent shape): how many of the draws lie below the true value.
        tarp: (n,): how many of the draws of all latents together lie closer to a random point than the true ones.
        draws: L for each of the n simulated data.
        dependence: (K, K), for K latents of all sites in a row: the correlation of two latents' normal scores, of the
            true ones less that of the draws, 0 if the guide is the posterior. None for more than 64 latents.
    """

    ranks: dict[str, Array]
    tarp: Array
    draws: int
    dependence: Estimates | None = None

    @property
    def p_values(self) -> dict[str, Array]:
        """By site, (*latent shape): that ranks are uniform, by their whole distribution function at once."""
        return {name: rank_p_values(ranks, self.draws + 1) for name, ranks in self.ranks.items()}

    @property
    def tarp_p_value(self) -> float:
        """That the ranks of TARP are uniform."""
        return float(rank_p_values(self.tarp, self.draws + 1))

    @property
    def p_value(self) -> float:
        """That all of them are: the smallest p-value times their number (Bonferroni)."""
        found = [self.tarp_p_value, *(p for values in self.p_values.values() for p in values.flat)]
        return min(1.0, min(found) * len(found))

    def coverage(self, levels: Sequence[float] = LEVELS) -> dict[str, Estimates]:
        """By site, (levels, *latent shape): how often central intervals hold the true value; `levels` if calibrated."""
        return {name: self._held(ranks, levels) for name, ranks in self.ranks.items()}

    def tarp_coverage(self, levels: Sequence[float] = LEVELS) -> Estimates:
        """(levels,): how often the ball around a random point that holds such a share of draws holds the true value."""
        cells = self.draws + 1
        return _over_data([np.clip(level * cells - self.tarp, 0, 1) for level in levels])

    @property
    def shift(self) -> dict[str, Estimates]:
        """By site, (*latent shape): the mean normal score of the true values; above 0 where the guide is too low.

        Where guide and posterior are normal, the shift in standard deviations of the guide.
        """
        return {name: Estimates.of_draws(normal_scores(ranks, self.draws + 1)) for name, ranks in self.ranks.items()}

    def band(self, level: float = 0.95) -> tuple[Array, Array, Array]:
        """Cuts, and bounds at them, of the distribution function of one latent's ranks: see `rank_band`."""
        return rank_band(len(self.tarp), self.draws + 1, level)

    def to_datatree(self) -> xarray.DataTree:
        """Ranks over draws, in the group `prior_sbc` that `arviz_plots.plot_ecdf_pit` shows."""
        from arviz_base import from_dict

        pit = {name: (ranks[None] + 0.5) / (self.draws + 1) for name, ranks in self.ranks.items()}
        return from_dict({"prior_sbc": pit})

    def _held(self, ranks: Array, levels: Sequence[float]) -> Estimates:
        # A rank stands for a cell of the unit interval, of which a central interval may hold a part.
        cells = self.draws + 1
        inside = [
            np.clip((1 + level) / 2 * cells - ranks, 0, 1) - np.clip((1 - level) / 2 * cells - ranks, 0, 1)
            for level in levels
        ]
        return _over_data(inside)

    def __str__(self) -> str:
        held = {name: e.value for name, e in self.coverage([0.8]).items()}
        told = ", ".join(f"{name} {c.min():.1%} to {c.max():.1%}" for name, c in held.items())
        return f"p = {self.p_value:.2g} on {len(self.tarp)} simulated data; central 80 % intervals hold {told}"


def check_calibration(
    fitted: Any, data: Any, *, simulations: int = 1000, draws: int = 99, seed: int = 0
) -> Calibration:
    """Simulate latents and data, z, x ~ p(z) p(x | z), and rank z among draws from q(z | x).

    No refit is needed, for an amortized guide answers for any x. It is judged on data of the model: where these differ
    from the real ones, so may its quality. Ranks are blind to a guide that ignores x and is the prior, and so is TARP,
    whose reference points are drawn from the prior; `elbo_surgery` and active units are not.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them; they lend their shapes, and the columns that are conditioned on.
        simulations: how many data to simulate.
        draws: L from the guide for each.
        seed: of everything.

    Raises:
        ValueError: the guide is not amortized (latents are shared by data, or it fixes its rows), so that each
            simulated data set would take a fit; or an observed site is no column of the data.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> found = check_calibration(PPCA(4, latent=2).maximum_likelihood(x), x)
        >>> found.ranks["z"].shape, bool(found.p_value > 0.001)
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
        _check(story, batch)
        rows = torch.randperm(simulations, device=story.device) % batch.n
        many = taken(batch, rows)
        parts = [_ranked(anatomy, draws) for anatomy in anatomies(story, many, 1, held=draws)]
    ranks = {name: np.concatenate([part.ranks[name] for part in parts]) for name in parts[0].ranks}
    scores = [part.scores for part in parts if part.scores is not None]
    dependence = _dependence(*map(np.concatenate, zip(*scores, strict=True))) if scores else None
    return Calibration(ranks, np.concatenate([part.tarp for part in parts]), draws, dependence)


class _Ranked(NamedTuple):
    ranks: dict[str, Array]
    tarp: Array
    scores: tuple[Array, Array] | None


def _over_data(held: list[Array]) -> Estimates:
    """Shares of the data, (levels, ...), from what each contributes at each level."""
    return Estimates.of_draws(np.stack(held, 1))


def _check(story: Story, batch: Batch) -> None:
    anatomy = examine(story, batch)
    if not anatomy.latents or not anatomy.guided:
        raise ValueError(f"{story.name}: its guide draws no latents that could be ranked")
    if not takes_any_rows(story, batch, 2):
        raise ValueError(
            f"{story.name}: its guide is not amortized (latents are shared by data, or it fixes its rows), so that "
            "every simulated data set would take a fit of its own: compare it with reference draws instead"
        )


def _ranked(anatomy: Anatomy, draws: int) -> _Ranked:
    """Ranks by site, those of TARP, and products of scores, for as many simulated data as the anatomy has rows."""
    _, observed = anatomy.run()
    simulated, elsewhere = (from_prior(anatomy) for _ in range(2))
    batch = with_new(anatomy, observed, simulated).repeated(draws)
    guide: Any = poutine.trace(anatomy.guide).get_trace(batch)

    def rows(trace: Any) -> dict[str, Tensor]:
        sites = {name: trace.nodes[name] for name in anatomy.latents}
        return {name: rows_first(site["value"], site, anatomy.plate) for name, site in sites.items()}

    drawn = {name: value.unflatten(0, (draws, -1)) for name, value in rows(guide).items()}
    true, reference = rows(simulated), _flat(rows(elsewhere), 1)
    ranks = {name: _rank(drawn[name], value) for name, value in true.items()}
    scale = reference.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    flat, true_flat = _flat(drawn, 2), _flat(true, 1)
    far = (((z - reference) / scale).square().sum(-1) for z in (flat, true_flat))
    return _Ranked(ranks, _rank(*far), _scores(flat, true_flat) if flat.shape[-1] <= _LATENTS else None)


def _scores(drawn: Tensor, true: Tensor) -> tuple[Array, Array]:
    """Normal scores of the true latents among all, (n, K), and the mean product over the draws of theirs, (n, K, K)."""
    pool = torch.cat([true[None], drawn])
    shuffled = torch.randperm(len(pool), device=pool.device)  # a place among equals by chance
    ranks = pool[shuffled].argsort(dim=0, stable=True).argsort(dim=0)[shuffled.argsort()]
    scores = normal_scores(ranks.cpu().numpy(), len(pool))
    return scores[0], np.einsum("lni,lnj->nij", scores[1:], scores[1:], optimize=True) / len(drawn)


def _dependence(true: Array, drawn: Array) -> Estimates:
    """Correlations (K, K) of the true scores (n, K) less those of the draws, whose mean products are (n, K, K)."""
    a = (true - true.mean(0)) / true.std(0)
    guide = drawn / drawn.diagonal(axis1=1, axis2=2).mean()
    product, square = a[:, :, None] * a[:, None], a**2
    correlation = product.mean(0)
    # What a datum adds to a correlation, to first order.
    added = product - correlation * (square[:, :, None] + square[:, None]) / 2 - guide
    return Estimates(correlation - guide.mean(0), Estimates.of_draws(added).error)


def _flat(values: dict[str, Tensor], lead: int) -> Tensor:
    """All latents of a datum as one vector, after `lead` dimensions."""
    return torch.cat([v.reshape(*v.shape[:lead], -1) for v in values.values()], -1)


def _rank(drawn: Tensor, true: Tensor) -> Array:
    """How many draws, which come first, lie below; a place among equals is chosen at random."""
    below, equal = (drawn < true).sum(0), (drawn == true).sum(0)
    ranks: Array = (below + (torch.rand(below.shape) * (equal + 1)).long()).cpu().numpy()
    return ranks
