"""The terms of the ELBO: reconstruction by observed site, KL divergence by latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.distributions import kl_divergence

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.log_densities import compute_unscaled_log_prob, log_prob_by_row
from pyrogen.diagnostics.core.program_structure import ProgramStructure
from pyrogen.diagnostics.core.row_blocks import analyze_row_blocks
from pyrogen.inference import evaluation_context
from pyrogen.story import latent_sites, unwrap_independent


@dataclass(frozen=True)
class Decomposition:
    r"""ELBO(x) = sum over observed sites of E_q log p(x | z) - sum over latents of E_q KL(q(z) || p(z)), in nats.

    Args:
        elbo: by datum, (N,), the difference of the two sums on the same draws.
        reconstruction: E_q log p(x_i | z), by observed site, (N,).
        kl: by latent, (N,); given a draw of the latents that it depends on, and then their mean.
        kl_by_dimension: the parts of `kl`, (N, *latent shape), for latents whose dimensions are independent under guide
            and model.
        analytic: the latents whose KL is in closed form given the draws; elsewhere it is the mean of log q - log p.
    """

    elbo: Estimates
    reconstruction: dict[str, Estimates]
    kl: dict[str, Estimates]
    kl_by_dimension: dict[str, Estimates]
    analytic: frozenset[str]

    def __str__(self) -> str:
        reconstruction = " + ".join(f"{term.mean()} for {name}" for name, term in self.reconstruction.items())
        kl = " + ".join(f"{term.mean()} for {name}" for name, term in self.kl.items())
        return f"ELBO {self.elbo.mean()} = reconstruction {reconstruction} - KL {kl or 0} nats per datum"


def decompose(fitted: Any, data: Any, num_samples: Count = 100, *, seed: Seed = 0) -> Decomposition:
    """Decompose the ELBO of each datum by site, and by dimension of each latent.

    A program is refused where no datum has an ELBO of its own: a latent is shared by data, summed out, or not drawn by
    the guide.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws for each datum, 100 by default.
        seed: of the draws, 0 by default.

    Returns:
        The terms, with Monte Carlo errors.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(20, 4)
        >>> parts = decompose(PPCA(4, latent=2, guide="meanfield").maximum_likelihood(x), x)
        >>> parts.kl_by_dimension["z"].value.shape, parts.analytic
        ((20, 2), frozenset({'z'}))
    """
    blocks: list[dict[tuple[str, str], Estimates]] = []
    analytic: dict[str, bool] = {}
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("density")
        for structure in analyze_row_blocks(story, context.batch(data), num_samples, draws_in_memory=num_samples):
            require_local_latents(structure, story.name)
            runs = [_terms(structure, analytic) for _ in range(0, num_samples, structure.draws_per_run)]
            blocks.append(_means(runs, num_samples))
    terms: dict[str, dict[str, Estimates]] = {"elbo": {}, "reconstruction": {}, "kl": {}, "kl_by_dimension": {}}
    for kind, name in blocks[0]:
        terms[kind][name] = Estimates.joined(block[kind, name] for block in blocks)
    names = frozenset(name for name, is_analytic in analytic.items() if is_analytic)
    return Decomposition(terms["elbo"][""], terms["reconstruction"], terms["kl"], terms["kl_by_dimension"], names)


def require_local_latents(structure: ProgramStructure, name: str) -> None:
    """Check that every datum has an ELBO of its own.

    Args:
        structure: of the program.
        name: of the story, for the message.

    Raises:
        ValueError: a latent is summed out, not drawn by the guide, or shared by data.
    """
    if structure.summed_out:
        raise ValueError(f"{name}: latent '{structure.summed_out[0]}' is summed out, so that its KL belongs to no site")
    if not structure.guide_is_complete:
        raise ValueError(f"{name}: the guide does not draw every latent, so that there is no ELBO")
    if not structure.local:
        raise ValueError(f"{name}: not every latent sits in the data plate, so no datum has an ELBO: see held_out_elbo")


def _means(runs: list[dict[tuple[str, str], Array]], num_samples: int) -> dict[tuple[str, str], Estimates]:
    """Means over draws, of which each run has some."""
    draws = {key: np.concatenate([run[key] for run in runs])[:num_samples] for key in runs[0]}
    signs = {"reconstruction": 1.0, "kl": -1.0}
    draws["elbo", ""] = np.sum([signs[kind] * term for (kind, _), term in draws.items() if kind in signs], 0)
    return {key: Estimates.of_draws(term) for key, term in draws.items()}


def _terms(structure: ProgramStructure, analytic: dict[str, bool]) -> dict[tuple[str, str], Array]:
    """The terms of one run's draws, by kind and site, (draws, n, ...); `analytic` notes the KLs in closed form."""
    guide, model = structure.run()
    compute_unscaled_log_prob(guide)
    compute_unscaled_log_prob(model)
    terms: dict[tuple[str, str], Tensor] = {}
    for name, site in model.nodes.items():
        if site["type"] == "sample" and site["is_observed"] and not site["infer"].get("_deterministic"):
            terms["reconstruction", name] = log_prob_by_row(site["log_prob"], structure.plate)
    for name, site in latent_sites(guide.nodes.values()).items():
        divergence, event_dim, analytic[name] = _kl(site, model.nodes.get(name))
        rows = divergence.movedim(structure.plate.dim - event_dim, 0)
        if event_dim == site["fn"].event_dim:
            terms["kl_by_dimension", name] = rows
        terms["kl", name] = rows.reshape(len(rows), -1).sum(1)
    return {key: term.unflatten(0, (structure.draws_per_run, -1)).double().cpu().numpy() for key, term in terms.items()}


def _kl(guide: Any, model: Any) -> tuple[Tensor, int, bool]:
    """The KL of a latent, the number of its event dimensions that are kept apart, and whether it is in closed form."""
    # Where a site is masked, or no latent of the model's, only its log densities are known.
    if model is None:
        return guide["log_prob"], 0, False
    q, p = unwrap_independent(guide["fn"]), unwrap_independent(model["fn"])
    if guide["mask"] is not None or model["mask"] is not None or q.event_dim != p.event_dim:
        return guide["log_prob"] - model["log_prob"], 0, False
    event_dim = guide["fn"].event_dim - q.event_dim
    try:
        return kl_divergence(q, p), event_dim, True
    except NotImplementedError:
        return q.log_prob(guide["value"]) - p.log_prob(guide["value"]), event_dim, False
