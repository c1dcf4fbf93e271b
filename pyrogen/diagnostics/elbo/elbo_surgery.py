"""Where the KL of an ELBO goes: into telling data apart, or into a prior that is not theirs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.core.log_densities import by_row, score
from pyrogen.diagnostics.core.posterior_draws import some_rows, takes_any_rows
from pyrogen.diagnostics.core.program_structure import Anatomy, examine
from pyrogen.diagnostics.elbo.decomposition import check_local
from pyrogen.inference import evaluation_context
from pyrogen.inference.likelihood.memory_budget import max_rows
from pyrogen.inference.prediction.encode_decode import FixedLatents
from pyrogen.story import latent_sites

__all__ = ["Surgery", "elbo_surgery"]


@dataclass(frozen=True)
class Surgery:
    r"""Mean of KL(q(z | x_i) || p(z)) = I(i; z) + KL(q(z) || p(z)), with q(z) the mean of q(z | x_i), in nats.

    Args:
        kl: the left side.
        mutual_information: of a datum's number and its latents: how far latents tell these data apart, at most log N. A
            posterior that has collapsed has 0.
        aggregate_kl: how far the aggregate posterior of these data is from the prior: what a better prior would gain.
        rows: number of data N in the aggregate.
    """

    kl: Estimate
    mutual_information: Estimate
    aggregate_kl: Estimate
    rows: int

    @property
    def saturated(self) -> bool:
        """The mutual information is close to log N: more data would show more of it, and less aggregate KL."""
        return self.mutual_information.value > math.log(self.rows) - 1

    def __str__(self) -> str:
        least, most = "at least " if self.saturated else "", math.log(self.rows)
        return (
            f"KL {self.kl} = mutual information {least}{self.mutual_information} (at most {most:.2f} for {self.rows} "
            f"data) + aggregate from prior {self.aggregate_kl} nats"
        )


def elbo_surgery(fitted: Any, data: Any, *, rows: int = 500, num_samples: int = 1, seed: int = 0) -> Surgery:
    """Split the mean KL of guide and prior into mutual information and the aggregate's distance from the prior.

    Every draw is scored under the posterior of every datum, so that the guide runs on rows^2 pairs for each draw. The
    identity holds exactly, for the two parts are of the same draws and the same aggregate; their errors are those of a
    mean over data.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: how many data the aggregate is of, a random choice of them.
        num_samples: draws for each datum.
        seed: of choice and draws.

    Raises:
        ValueError: a latent is shared by data, summed out or not drawn by the guide; or the guide has no posterior for
            data at other places, as an AutoGuide.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> found = elbo_surgery(PPCA(4, latent=2).maximum_likelihood(x), x)
        >>> abs(found.kl.value - found.mutual_information.value - found.aggregate_kl.value) < 1e-6
        True

    References:
        Hoffman, Johnson 2016, "ELBO surgery: yet another way to carve up the variational evidence lower bound".
    """
    with evaluation_context(fitted, seed) as context:
        story = context.story
        batch = some_rows(context.batch(data), rows)
        anatomy = examine(story, batch)
        check_local(anatomy, story.name)
        if not takes_any_rows(story, batch, 2):
            raise ValueError(f"{story.name}: its guide fixes its rows, so no draw can be scored under another datum's")
        budget = max_rows(story, lambda few: poutine.trace(anatomy.guide).get_trace(few), batch)
        draws = torch.stack([_draw(anatomy, budget) for _ in range(num_samples)])
    kl, told = draws.double().mean(0).cpu()
    return Surgery(Estimate.mean(kl), Estimate.mean(told), Estimate.mean(kl - told), len(kl))


def _draw(anatomy: Anatomy, budget: int) -> Tensor:
    """For one draw z_i of each datum, log q(z_i | x_i) - log p(z_i) and log q(z_i | x_i) - log q(z_i), (2, n).

    Args:
        anatomy: of all data.
        budget: how many pairs of a draw and a datum the guide takes at once.
    """
    guide, model = anatomy.run()
    score(guide)
    score(model)
    drawn = latent_sites(guide.nodes.values())
    log_q = _total(drawn, anatomy.plate)
    log_p = _total(latent_sites(model.nodes.values()), anatomy.plate)
    step = max(1, budget // anatomy.batch.n)
    parts = [_log_aggregate(anatomy, drawn, start, step) for start in range(0, anatomy.batch.n, step)]
    return torch.stack([log_q - log_p, log_q - torch.cat(parts)])


def _total(sites: dict[str, Any], plate: Any) -> Tensor:
    return torch.stack([by_row(site["log_prob"], plate) for site in sites.values()]).sum(0)


def _log_aggregate(anatomy: Anatomy, drawn: dict[str, Any], start: int, step: int) -> Tensor:
    """Log of the mean over data of q(z_i | x_j), for some of the draws, (step,)."""
    n, values = anatomy.batch.n, {}
    m = min(step, n - start)
    for name, site in drawn.items():
        axis = anatomy.plate.dim - site["fn"].event_dim
        values[name] = site["value"].narrow(axis, start, m).repeat_interleave(n, axis)
    pairs: Any = poutine.trace(FixedLatents(values)(anatomy.guide)).get_trace(anatomy.batch.repeated(m))
    score(pairs)
    plate = anatomy.plate._replace(size=m * n)
    return _total({name: pairs.nodes[name] for name in drawn}, plate).reshape(m, n).logsumexp(1) - math.log(n)
