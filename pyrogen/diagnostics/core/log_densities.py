"""Log densities of one draw: of each datum, and of what all data share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.diagnostics.core.program_structure import ProgramStructure
from pyrogen.inference.program.row_log_weights import WeightedTraces
from pyrogen.story import inside, is_subsample, latent_sites, outside


@dataclass(frozen=True)
class LogDensities:
    """Log densities of one draw, in nats, latents marked for enumeration summed out.

    Args:
        log_likelihood: by observed site or factor in the data plate, (n,) log p(x_i given the latents of this draw).
        log_p: (n,) log p(x_i, z_i given the latents outside the data plate).
        log_q: (n,) log q(z_i).
        shared_log_p: () log density under the model of all sites outside the data plate.
        shared_log_q: () the same under the guide.
    """

    log_likelihood: dict[str, Tensor]
    log_p: Tensor
    log_q: Tensor
    shared_log_p: Tensor
    shared_log_q: Tensor

    @classmethod
    def of_traces(cls, structure: ProgramStructure, guide: Any, model: Any) -> LogDensities:
        """Compute the log densities of one draw.

        Args:
            structure: of the program.
            guide: its guide's trace.
            model: the model's trace, replayed with the guide's.

        Returns:
            The log densities.
        """
        plate = structure.plate
        compute_unscaled_log_prob(guide)
        compute_unscaled_log_prob(model)
        (log_p, shared_log_p), (log_q, shared_log_q) = (_rows_and_rest(trace, plate) for trace in (model, guide))
        if structure.summed_out:
            log_likelihood, log_p = _with_latents_summed_out(structure, guide)
        else:
            sites = {name: model.nodes[name] for name in structure.row_terms}
            log_likelihood = {name: log_prob_by_row(site["log_prob"], plate) for name, site in sites.items()}
        return cls(log_likelihood, log_p, log_q, shared_log_p, shared_log_q)


def compute_unscaled_log_prob(trace: Any) -> None:
    """Compute the log density of every site, without the scales of plates and handlers.

    Args:
        trace: of a program; its sites get `log_prob`.
    """
    for site in trace.nodes.values():
        if site["type"] == "sample":
            site["scale"] = 1.0
    trace.compute_log_prob()


def log_prob_by_row(log_prob: Tensor, plate: Any) -> Tensor:
    """A site's log density summed over all dimensions but the data plate's.

    Args:
        log_prob: of the site's batch shape.
        plate: the frame of the data plate.

    Returns:
        (n,).
    """
    if log_prob.dim() < -plate.dim:  # the same for all rows
        return log_prob.sum().expand(plate.size)
    rows = log_prob.movedim(plate.dim, -1)
    return rows.reshape(-1, rows.shape[-1]).sum(0).expand(plate.size)


def _rows_and_rest(trace: Any, plate: Any) -> tuple[Tensor, Tensor]:
    """Log densities of a trace by row, and of what lies outside the data plate."""
    rows, rest = torch.zeros(plate.size if plate is not None else 0), torch.zeros(())
    for site in trace.nodes.values():
        if site["type"] != "sample" or is_subsample(site):
            continue
        if plate is not None and inside(site, plate.name):
            rows = rows + log_prob_by_row(site["log_prob"], plate)
        else:
            rest = rest + torch.as_tensor(site["log_prob"]).sum()
    return rows, rest


class _Masked(Messenger):
    """Leaves the named sites without a density."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names:
            msg["mask"] = False


def _with_latents_summed_out(structure: ProgramStructure, guide: Any) -> tuple[dict[str, Tensor], Tensor]:
    """By the chain rule over observed sites: log p(x1, z) - log p(z), log p(x1, x2, z) - log p(x1, z), ..."""
    given = outside(latent_sites(guide.nodes.values()), structure.plate.name)
    same_guide = poutine.replay(structure.guide, trace=guide)

    def log_p(masked: set[str]) -> Tensor:
        return WeightedTraces(_Masked(masked)(structure.model), same_guide, structure.batch, given).log_p()

    masked = set(structure.row_terms)
    total, log_likelihood = log_p(masked), {}
    for site in structure.row_terms:
        masked = masked - {site}
        before, total = total, log_p(masked)
        log_likelihood[site] = total - before
    return log_likelihood, total
