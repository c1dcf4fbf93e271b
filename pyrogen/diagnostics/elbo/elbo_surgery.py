"""ELBO surgery: the mean KL as mutual information plus the KL of the aggregate posterior from the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.core.log_densities import compute_unscaled_log_prob, log_prob_by_row
from pyrogen.diagnostics.core.program_structure import ProgramStructure, analyze_program
from pyrogen.diagnostics.core.row_blocks import accepts_any_rows, random_rows
from pyrogen.diagnostics.elbo.decomposition import require_local_latents
from pyrogen.inference import evaluation_context
from pyrogen.inference.likelihood.memory_budget import max_rows
from pyrogen.inference.prediction.latent_points import FixedLatents
from pyrogen.story import latent_sites


@dataclass(frozen=True)
class ELBOSurgery:
    r"""Mean of KL(q(z | x_i) || p(z)) = I(i; z) + KL(q(z) || p(z)), with q(z) the mean of q(z | x_i), in nats.

    Args:
        kl: the left side.
        mutual_information: of a datum's number i and its latents z: how well latents identify a datum, at most log N. A
            posterior that has collapsed has 0.
        aggregate_kl: KL(q(z) || p(z)) of the aggregate posterior of these data: what a better prior would gain.
        rows: number of data N in the aggregate.
    """

    kl: Estimate
    mutual_information: Estimate
    aggregate_kl: Estimate
    rows: int

    @property
    def saturated(self) -> bool:
        """Whether the mutual information is close to log N, its largest value: with more data it would be larger."""
        return self.mutual_information.value > math.log(self.rows) - 1

    def __str__(self) -> str:
        least, most = "at least " if self.saturated else "", math.log(self.rows)
        return (
            f"KL {self.kl} = mutual information {least}{self.mutual_information} (at most {most:.2f} for {self.rows} "
            f"data) + aggregate from prior {self.aggregate_kl} nats"
        )


def elbo_surgery(fitted: Any, data: Any, *, rows: Count = 500, num_samples: Count = 1, seed: Seed = 0) -> ELBOSurgery:
    """Split the mean KL of guide and prior into mutual information and the KL of the aggregate posterior.

    Every draw is scored under the posterior of every datum, so that the guide runs on rows^2 pairs for each draw. The
    identity holds exactly, for the two parts are of the same draws and the same aggregate; their errors are those of a
    mean over data.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: number of data in the aggregate, chosen at random; 500 by default.
        num_samples: draws for each datum, 1 by default.
        seed: of the choice of data and the draws, 0 by default.

    Returns:
        The two parts and their sum.

    Raises:
        ValueError: a latent is shared by data, summed out or not drawn by the guide; or the guide has no posterior for
            other data than its own, as an AutoGuide.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> surgery = elbo_surgery(PPCA(4, latent=2).maximum_likelihood(x), x)
        >>> abs(surgery.kl.value - surgery.mutual_information.value - surgery.aggregate_kl.value) < 1e-6
        True

    References:
        Hoffman, Johnson 2016, "ELBO surgery: yet another way to carve up the variational evidence lower bound".
    """
    with evaluation_context(fitted, seed) as context:
        story, batch = context.story, random_rows(context.batch(data), rows)
        structure = analyze_program(story, batch)
        require_local_latents(structure, story.name)
        if not accepts_any_rows(story, batch, 2):
            raise ValueError(f"{story.name}: its guide fixes its rows, so no draw can be scored under another datum's")
        pairs = max_rows(story, lambda some: poutine.trace(structure.guide).get_trace(some), batch)
        draws = torch.stack([_log_ratios(structure, pairs) for _ in range(num_samples)])
    kl, information = draws.double().mean(0).cpu()
    return ELBOSurgery(Estimate.mean(kl), Estimate.mean(information), Estimate.mean(kl - information), len(kl))


def _log_ratios(structure: ProgramStructure, max_pairs: int) -> Tensor:
    """For one draw z_i of each datum, log q(z_i | x_i) - log p(z_i) and log q(z_i | x_i) - log q(z_i), (2, n)."""
    guide, model = structure.run()
    compute_unscaled_log_prob(guide)
    compute_unscaled_log_prob(model)
    latents = latent_sites(guide.nodes.values())
    log_q = _joint_log_prob(latents, structure.plate)
    log_p = _joint_log_prob(latent_sites(model.nodes.values()), structure.plate)
    n = structure.batch.n
    step = max(1, max_pairs // n)  # the guide runs on pairs of a draw and a datum
    log_aggregate = torch.cat([_log_aggregate(structure, latents, start, step) for start in range(0, n, step)])
    return torch.stack([log_q - log_p, log_q - log_aggregate])


def _joint_log_prob(sites: dict[str, Any], plate: Any) -> Tensor:
    return torch.stack([log_prob_by_row(site["log_prob"], plate) for site in sites.values()]).sum(0)


def _log_aggregate(structure: ProgramStructure, latents: dict[str, Any], start: int, step: int) -> Tensor:
    """Log of the mean over data of q(z_i | x_j), for the draws from `start` on, (at most step,)."""
    n, values = structure.batch.n, {}
    m = min(step, n - start)
    for name, site in latents.items():
        axis = structure.plate.dim - site["fn"].event_dim
        values[name] = site["value"].narrow(axis, start, m).repeat_interleave(n, axis)
    pairs: Any = poutine.trace(FixedLatents(values)(structure.guide)).get_trace(structure.batch.repeated(m))
    compute_unscaled_log_prob(pairs)
    plate = structure.plate._replace(size=m * n)
    log_q = _joint_log_prob({name: pairs.nodes[name] for name in latents}, plate)
    return log_q.reshape(m, n).logsumexp(1) - math.log(n)
