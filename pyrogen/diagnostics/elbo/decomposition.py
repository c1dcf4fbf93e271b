"""What the ELBO is made of: how well data are told, and what each latent costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.distributions import kl_divergence

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.log_densities import by_row, score
from pyrogen.diagnostics.core.posterior_draws import anatomies
from pyrogen.diagnostics.core.program_structure import Anatomy
from pyrogen.inference import evaluation_context
from pyrogen.story import latent_sites, unwrap_independent

__all__ = ["Decomposition", "check_local", "decompose"]


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
        parts = [f"{estimates.mean()} for {name}" for name, estimates in self.reconstruction.items()]
        costs = [f"{estimates.mean()} for {name}" for name, estimates in self.kl.items()]
        return (
            f"ELBO {self.elbo.mean()} = reconstruction {' + '.join(parts)} - KL {' + '.join(costs) or 0} nats per datum"
        )


def decompose(fitted: Any, data: Any, num_samples: int = 100, *, seed: int = 0) -> Decomposition:
    """Take the ELBO of each datum apart, by site and by dimension of each latent.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws for each datum.
        seed: of the draws.

    Raises:
        ValueError: a latent is shared by data, or summed out, or not drawn by the guide: no part of a datum's ELBO is
            its own. The message names it.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(20, 4)
        >>> parts = decompose(PPCA(4, latent=2, guide="meanfield").maximum_likelihood(x), x)
        >>> parts.kl_by_dimension["z"].value.shape, parts.analytic
        ((20, 2), frozenset({'z'}))
    """
    pieces: list[dict[tuple[str, str], Estimates]] = []
    closed: dict[str, bool] = {}
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("density")
        batch = context.batch(data)
        for anatomy in anatomies(story, batch, num_samples, held=num_samples):
            check_local(anatomy, story.name)
            pieces.append(
                _estimates([_terms(anatomy, closed) for _ in range(0, num_samples, anatomy.times)], num_samples)
            )
    found: dict[str, dict[str, Estimates]] = {"elbo": {}, "reconstruction": {}, "kl": {}, "kl_by_dimension": {}}
    for kind, name in pieces[0]:
        found[kind][name] = Estimates.joined(piece[kind, name] for piece in pieces)
    analytic = frozenset(name for name, is_closed in closed.items() if is_closed)
    return Decomposition(found["elbo"][""], found["reconstruction"], found["kl"], found["kl_by_dimension"], analytic)


def check_local(anatomy: Anatomy, name: str) -> None:
    """Refuse, with the reason, a program of which no datum has an ELBO of its own."""
    if anatomy.summed:
        raise ValueError(f"{name}: latent '{anatomy.summed[0]}' is summed out, so that its KL belongs to no site")
    if not anatomy.guided:
        raise ValueError(f"{name}: the guide does not draw every latent, so that there is no ELBO")
    if not anatomy.local:
        raise ValueError(
            f"{name}: not every latent sits in the data plate, so no datum has an ELBO of its own: see held_out_elbo"
        )


def _estimates(runs: list[dict[tuple[str, str], Array]], num_samples: int) -> dict[tuple[str, str], Estimates]:
    """Means over draws, of which each run has some."""
    draws = {key: np.concatenate([run[key] for run in runs])[:num_samples] for key in runs[0]}
    signs = {"reconstruction": 1.0, "kl": -1.0}
    draws["elbo", ""] = np.sum([signs[kind] * term for (kind, _), term in draws.items() if kind in signs], 0)
    return {key: Estimates.of_draws(term) for key, term in draws.items()}


def _terms(anatomy: Anatomy, closed: dict[str, bool]) -> dict[tuple[str, str], Array]:
    """The terms of one run's draws, by kind and site, (draws, n, ...); `closed` notes which KLs are in closed form."""
    guide, model = anatomy.run()
    score(guide)
    score(model)
    found: dict[tuple[str, str], Tensor] = {}
    for name, site in model.nodes.items():
        if site["type"] == "sample" and site["is_observed"] and not site["infer"].get("_deterministic"):
            found["reconstruction", name] = by_row(site["log_prob"], anatomy.plate)
    for name, site in latent_sites(guide.nodes.values()).items():
        prior = model.nodes.get(name)
        divergence, event_dim, closed[name] = _divergence(site, prior)
        rows = divergence.movedim(anatomy.plate.dim - event_dim, 0)
        if event_dim == site["fn"].event_dim:
            found["kl_by_dimension", name] = rows
        found["kl", name] = rows.reshape(len(rows), -1).sum(1)
    return {key: term.unflatten(0, (anatomy.times, -1)).double().cpu().numpy() for key, term in found.items()}


def _divergence(guide: Any, model: Any) -> tuple[Tensor, int, bool]:
    """What a latent costs, how many of its event's dimensions that is told apart for, and whether in closed form.

    Where a site is masked, or no latent of the model's, only its log densities are known.
    """
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
