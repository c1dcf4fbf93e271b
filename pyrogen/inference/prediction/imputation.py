"""Missing parts of data, drawn from their posterior given the observed parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.inference.likelihood.marginal_likelihood import log_weight_run
from pyrogen.inference.likelihood.memory_budget import split_rows
from pyrogen.inference.prediction.latent_points import FixedLatents, mean_of
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.row_log_weights import WeightedTraces
from pyrogen.messages import refuse_masked
from pyrogen.story import Batch, enumerated, latent_sites, observed_sites, unwrap_independent


@dataclass(frozen=True)
class Imputation:
    """Data with their missing parts filled in; observed parts are unchanged.

    Args:
        draws: (chains, N, *event_shape), one independent draw from each chain.
        mean: (N, *event_shape), the posterior mean of what is missing: over chains and the last half of their steps.
        error: (N, *event_shape), its standard error, from the spread between chains; 0 where a value is observed.
        acceptance: (N,) rate at which proposed latents were accepted in the last half of the steps. Draws are
            unreliable where it is near 0.
    """

    draws: Tensor
    mean: Tensor
    error: Tensor
    acceptance: Tensor


def impute(
    story: Any, data: Any, missing: Tensor, *, chains: Count = 16, steps: Count = 200, seed: Seed | None = None
) -> Imputation:
    r"""Draws of the missing elements $x_m$ of each datum, and their mean, given the observed ones, $x_s$.

    Metropolis within Gibbs: a latent z' proposed by the guide at the completed datum is accepted with probability
    $\min(1, w(z') / w(z))$, $w(z) = p(x_s, x_m, z) / q(z|x_s, x_m)$; then $x_m \sim p(x_m|z)$. The chain
    converges to $p(x_m, z|x_s)$, whatever the guide; with a poor guide it is slow, which `acceptance` shows. Chains
    start at draws from the story.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained. The elements of x must be
            independent given its latents, all of which belong to single data and are drawn by the guide.
        data: columns as `fit` takes them; what `x` holds where it is missing does not matter.
        missing: boolean, (N, *event_shape) or one (*event_shape) for all: True where `x` is to be filled in.
        chains: independent chains for each datum; 16 by default.
        steps: steps of each chain; 200 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        Draws, means, errors and acceptance rates.

    Raises:
        ValueError: a mask of another shape or type, fewer than 2 chains or steps, a latent that is shared by all data
            or summed out, or a likelihood whose elements depend on each other.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(100, 5)
        >>> story = PPCA(5, latent=2).maximum_likelihood(x)
        >>> impute(story, x[:3], torch.tensor([True, False, False, False, True]), steps=20, seed=0).draws.shape
        torch.Size([16, 3, 5])

    References:
        Rezende, Mohamed, Wierstra 2014, arXiv:1401.4082 (without the Metropolis step); Mattei, Frellsen 2018,
        arXiv:1802.04826.
    """
    for name, number in (("chains", chains), ("steps", steps)):
        if number < 2:
            raise ValueError(f"impute needs at least 2 {name}, got {name}={number}")
    with evaluation_context(story, seed) as context:
        for part in ("guide", "density", "sample"):
            context.story.require(part)
        program = context.program
        columns, mask = _hidden(data, missing)
        batch = context.batch(columns)
        batch = replace(batch, columns={**batch.columns, _MASK: mask.to(context.story.device)})
        found = [
            _Chains(program, rows, chains).run(steps)
            for rows in split_rows(context.story, log_weight_run(program), batch, chains)
        ]
    joined = {name: [getattr(part, name) for part in found] for name in Imputation.__dataclass_fields__}
    return Imputation(torch.cat(joined.pop("draws"), 1), **{name: torch.cat(parts) for name, parts in joined.items()})


_MASK = "missing elements"
"""The mask as a column of a batch; it is no possible name of a parameter."""


def _hidden(data: Any, missing: Tensor) -> tuple[Any, Tensor]:
    """The data with 0 where `x` is missing, and the mask, (N, *event_shape)."""
    named = isinstance(data, Mapping)
    if named and "x" not in data:
        raise ValueError(f"impute fills in column 'x', and the data has no such column (columns: {', '.join(data)})")
    refuse_masked("column 'x'", data["x"] if named else data)
    x, mask = torch.as_tensor(data["x"] if named else data), torch.as_tensor(missing)
    if mask.dtype != torch.bool or mask.shape not in (x.shape, x.shape[1:]):
        raise ValueError(
            f"missing is a boolean mask of x's shape {tuple(x.shape)}, or {tuple(x.shape[1:])} for all data; got "
            f"{mask.dtype} of shape {tuple(mask.shape)}"
        )
    mask = mask.to(x.device).expand(x.shape)
    x = x.masked_fill(mask, 0)
    return ({**data, "x": x} if named else x), mask


class _Chains:
    """Chains for some rows: row i of chain s is row s n + i of a batch that repeats the rows."""

    def __init__(self, program: Program, rows: Batch, chains: int) -> None:
        self.program, self.chains = program, chains
        columns = dict(rows.repeated(chains).columns)
        self.mask = columns.pop(_MASK)
        self.key = "x" if "x" in columns else next(iter(columns))
        self.x: Tensor = columns.pop(self.key)
        self.batch = replace(rows.repeated(chains), columns=columns)
        self.latents: dict[str, Tensor] = {}
        self.site = self._check(self._weighted(program.guide))
        drawn = program.story.sample(self.batch.n, **{str(k): c for k, c in columns.items() if isinstance(k, str)})
        self._fill(drawn[self.site] if isinstance(drawn, dict) else drawn)

    def run(self, steps: int) -> Imputation:
        """Take the steps, and average the last half of them."""
        last = range(steps // 2, steps)
        mean, accepted = torch.zeros_like(self.x), torch.zeros(self.batch.n)
        for number in range(steps):
            expected, taken = self._step()
            if number in last:
                mean, accepted = mean + expected / len(last), accepted + taken / len(last)
        parts = (self.x, self.mask, mean, accepted)
        draws, missing, mean, accepted = (t.reshape(self.chains, -1, *t.shape[1:]).cpu() for t in parts)
        middle = torch.where(missing[0], mean.mean(0), draws[0])
        error = torch.where(missing[0], mean.std(0) / math.sqrt(self.chains), 0.0)
        return Imputation(draws, middle, error, accepted.mean(0))

    def _step(self) -> tuple[Tensor, Tensor]:
        """Move latents and missing elements once; the elements' means given the latents, and which rows moved."""
        new = self._weighted(self.program.guide)
        old: Any = self._weighted(FixedLatents(self.latents)(self.program.guide)) if self.latents else new
        take = torch.rand(self.batch.n).log() <= new.log_weights() - old.log_weights()
        for name, site in latent_sites(new.guide.nodes.values()).items():
            rows = new.plate.dim - site["fn"].event_dim
            self.latents[name] = _chosen(take, rows, site["value"], old.guide.nodes[name]["value"])
        fns: list[Any] = [traces.model.nodes[self.site]["fn"] for traces in (new, old)]
        self._fill(_chosen(take, -self.x.dim(), *(fn.sample() for fn in fns)))
        return _chosen(take, -self.x.dim(), *(mean_of(fn) for fn in fns)), take.float()

    def _weighted(self, guide: Any) -> WeightedTraces:
        batch = replace(self.batch, columns={self.key: self.x, **self.batch.columns})
        return WeightedTraces(self.program.model, guide, batch)

    def _fill(self, drawn: Tensor) -> None:
        self.x = torch.where(self.mask, drawn, self.x)

    def _check(self, traces: WeightedTraces) -> str:
        """The name of the site that observes `x`, if the steps are right for the program."""
        name, nodes = self.program.story.name, traces.model.nodes
        latents, seen = latent_sites(nodes.values()), observed_sites(nodes.values())
        summed = [key for key, site in latents.items() if key not in traces.guide.nodes and enumerated(site)]
        if summed or not latents:
            lacks = f"'{summed[0]}' is summed out" if summed else "it has none"
            raise ValueError(f"{name}: impute moves latents that the guide draws for each datum, and {lacks}")
        if "x" not in seen and len(seen) != 1:
            raise ValueError(f"{name}: none of the observed sites ({', '.join(seen)}) is named 'x'")
        site = "x" if "x" in seen else next(iter(seen))
        base = unwrap_independent(nodes[site]["fn"])
        if base.event_dim:
            kind = type(base).__name__
            raise ValueError(
                f"{name}: impute needs the elements of '{site}' to be independent given the latents, and it is {kind}"
            )
        return site


def _chosen(take: Tensor, dim: int, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where taken, else of `old`; dimension `dim` holds the rows."""
    return torch.where(take.reshape(-1, *[1] * (-1 - dim)), new, old)
