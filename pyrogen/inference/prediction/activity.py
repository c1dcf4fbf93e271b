"""Active units: which latents a posterior uses. Posterior collapse shows here, and not in the ELBO alone."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.inference.likelihood.memory_budget import split_rows
from pyrogen.inference.prediction.encode_decode import codes_of, rows_first
from pyrogen.inference.prediction.responses import left_out_sites
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.input_checks import is_auto
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, data_plate

THRESHOLD = 0.01
_DRAWS = 32
"""Runs of a guide without means in closed form, in two halves."""


@dataclass(frozen=True)
class ActiveUnits:
    """Variance over the data of the posterior mean of each latent unit.

    Args:
        variance: by site, of the shape of the latent: Var_x(E_q[z | x]), in the squared units of z.
        threshold: above which a unit is active; 0.01 by default.
    """

    variance: dict[str, Tensor]
    threshold: float = THRESHOLD

    @property
    def active(self) -> dict[str, int]:
        """Number of active units, by site."""
        return {name: int((variance > self.threshold).sum()) for name, variance in self.variance.items()}

    def __str__(self) -> str:
        parts = {name: f"{self.active[name]} of {variance.numel()}" for name, variance in self.variance.items()}
        return ", ".join(f"{part} in {name}" if len(parts) > 1 else part for name, part in parts.items())


def active_units(
    story: Any, data: Any, *, threshold: float = THRESHOLD, rows: Count = 1000, seed: Seed = 0
) -> ActiveUnits:
    r"""Count the latent units u that the posterior uses: $\operatorname{Var}_x(E_{q(z|x)}[z_u]) > 0.01$.

    A unit whose posterior is the prior for every datum, as in posterior collapse, has variance 0; one that
    distinguishes data and has a standard normal prior, up to 1. Where means have no closed form, as in the upper layers
    of a hierarchy, the variance is the covariance over the data of the means of two independent sets of 16 draws, which
    is unbiased.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        threshold: above which a unit is active; 0.01 by default.
        rows: number of data used, a random choice of them; 1,000 by default.
        seed: of choice and draws; 0 by default.

    Returns:
        The variances; empty for a story whose guide draws no continuous latent of each datum.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(500, 6) @ torch.diag(torch.tensor([9.0, 5.0, 1.0, 1.0, 1.0, 1.0]))
        >>> print(active_units(PPCA(6, latent=2).maximum_likelihood(x), x))
        2 of 2

    References:
        Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519.
    """
    with evaluation_context(story, seed) as context:
        if "guide" in context.story.unsupported:
            return ActiveUnits({}, threshold)
        program, batch = context.program, context.batch(data)
        if batch.n > rows and not is_auto(context.story):  # an AutoGuide is bound to the training data's rows
            index = torch.randperm(batch.n)[:rows]
            batch = replace(batch.map(lambda column: column[index]), n=rows)
        chunks = list(split_rows(context.story, functools.partial(_means_of, program), batch))
        first, second = _means(program, chunks), _means(program, chunks)
        if any(not torch.equal(mean, second[name]) for name, mean in first.items()):
            for _ in range(_DRAWS // 2 - 1):
                for total in (first, second):
                    total |= {name: total[name] + mean for name, mean in _means(program, chunks).items()}
            first, second = ({name: total / (_DRAWS // 2) for name, total in s.items()} for s in (first, second))
    return ActiveUnits({name: _covariance(first[name], second[name]) for name in first}, threshold)


def _means(program: Program, chunks: list[Batch]) -> dict[str, Tensor]:
    """The codes' means, each given a draw of those before it, and a draw where there is no mean, (N, ...) by site."""
    found = [_means_of(program, rows) for rows in chunks]
    return {name: torch.cat([part[name] for part in found]).cpu() for name in found[0]}


def _means_of(program: Program, rows: Batch) -> dict[str, Tensor]:
    guide = poutine.trace(program.guide).get_trace(rows)
    plate = data_plate(guide.nodes.values(), rows.n)
    if plate is None:
        model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(rows)
        plate = data_plate(model.nodes.values(), rows.n, left_out_sites(program, model, guide.nodes))
    codes = codes_of(guide, plate) if plate is not None else {}
    return {name: rows_first(_mean_or_draw(site), site, plate).double() for name, site in codes.items()}


def _mean_or_draw(site: Any) -> Any:
    try:
        return site["fn"].mean
    except NotImplementedError:
        return site["value"]


def _covariance(a: Tensor, b: Tensor) -> Tensor:
    """Over the rows, for each element."""
    return ((a - a.mean(0)) * (b - b.mean(0))).sum(0) / max(1, len(a) - 1)
