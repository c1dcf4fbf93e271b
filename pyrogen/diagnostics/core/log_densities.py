"""Log densities of one draw: of each datum, and of what all data share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.diagnostics.core.program_structure import Anatomy
from pyrogen.inference.program.row_log_weights import WeightedTraces
from pyrogen.story import inside, is_subsample, latent_sites, outside

__all__ = ["Densities", "by_row", "score"]


@dataclass(frozen=True)
class Densities:
    """Log densities of one draw, in nats, latents marked for enumeration summed out.

    Args:
        likelihood: by observed site in the data plate, (n,) log p(x_i given the latents of this draw).
        p: (n,) log p(x_i, z_i given the latents outside the data plate).
        q: (n,) log q(z_i).
        shared_p, shared_q: () those of all sites outside the data plate.
    """

    likelihood: dict[str, Tensor]
    p: Tensor
    q: Tensor
    shared_p: Tensor
    shared_q: Tensor

    @classmethod
    def of(cls, anatomy: Anatomy, guide: Any, model: Any) -> Densities:
        """Score the traces of one draw: the guide's, and the model's replayed with it."""
        score(guide)
        score(model)
        p, shared_p = _split(model, anatomy.plate)
        q, shared_q = _split(guide, anatomy.plate)
        if anatomy.summed:
            likelihood, p = _summed_out(anatomy, guide)
        else:
            plate = anatomy.plate
            seen = [] if plate is None else [s for s in anatomy.observed if inside(model.nodes[s], plate.name)]
            likelihood = {name: by_row(model.nodes[name]["log_prob"], plate) for name in seen}
        return cls(likelihood, p, q, shared_p, shared_q)


def score(trace: Any) -> None:
    """Log densities of every site, without the scales of plates and handlers."""
    for site in trace.nodes.values():
        if site["type"] == "sample":
            site["scale"] = 1.0
    trace.compute_log_prob()


def by_row(log_prob: Tensor, plate: Any) -> Tensor:
    """A site's log density summed over all dimensions but the data plate's, (n,)."""
    rows = log_prob.movedim(plate.dim, -1)
    return rows.reshape(-1, rows.shape[-1]).sum(0).expand(plate.size)


def _split(trace: Any, plate: Any) -> tuple[Tensor, Tensor]:
    """Log densities of a trace by row, and of what lies outside the data plate."""
    name = plate.name if plate is not None else None
    rows, shared = torch.zeros(plate.size if plate is not None else 0), torch.zeros(())
    for site in trace.nodes.values():
        if site["type"] != "sample" or is_subsample(site):
            continue
        if plate is not None and inside(site, name):
            rows = rows + by_row(site["log_prob"], plate)
        else:
            shared = shared + torch.as_tensor(site["log_prob"]).sum()
    return rows, shared


class _Masked(Messenger):
    """Leaves the named sites without a density."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names:
            msg["mask"] = False


def _summed_out(anatomy: Anatomy, guide: Any) -> tuple[dict[str, Tensor], Tensor]:
    """By the chain rule over observed sites: log p(x1, z) - log p(z), log p(x1, x2, z) - log p(x1, z), ..."""
    name = anatomy.plate.name
    hidden = outside(latent_sites(guide.nodes.values()), name)
    values = {site: guide.nodes[site]["value"] for site in hidden}

    def log_p(masked: set[str]) -> Tensor:
        model = poutine.block(poutine.condition(_Masked(masked)(anatomy.model), data=values), hide=hidden)
        replayed = poutine.block(poutine.replay(anatomy.guide, trace=guide), hide=hidden)
        return WeightedTraces(model, replayed, anatomy.batch).log_p()

    left = set(anatomy.observed)
    total, likelihood = log_p(left), {}
    for site in anatomy.observed:
        left = left - {site}
        former, total = total, log_p(left)
        likelihood[site] = total - former
    return likelihood, total
