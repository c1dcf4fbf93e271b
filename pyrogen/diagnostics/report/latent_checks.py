"""Checks of the latents: which of them carry information about the data, and how far they are from the prior."""

from __future__ import annotations

from pyrogen.diagnostics.elbo.decomposition import Decomposition, decompose
from pyrogen.diagnostics.elbo.elbo_surgery import ELBOSurgery, elbo_surgery
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import Assessment
from pyrogen.inference import ActiveUnits, active_units

_SURGERY_ROWS, _DECOMPOSITION_DRAWS = 500, 50
REMARKABLE = 1.0
"""KL of aggregate posterior and prior, in nats, above which a better prior is suggested."""


def _active_units(e: Examination) -> ActiveUnits:
    return active_units(e.fitted, e.rows, seed=e.seed)


def _judge_active_units(assessment: Assessment, e: Examination, units: ActiveUnits) -> None:
    total = sum(variance.numel() for variance in units.variance.values())
    if not total:
        return
    active = sum(units.active.values())
    about = f"active units: latents whose posterior mean depends on the datum, of {total}"
    assessment.report("active_units", active, 0.0, about)
    if active == 0:
        assessment.find("collapsed", None, "posterior collapse: no latent is active", Remedies(e).warm_up)
    elif active < total:
        message = f"{total - active} of {total} latents are inactive"
        assessment.find("unused", None, message, Remedies(e).list_latents)


def _elbo_surgery(e: Examination) -> ELBOSurgery:
    return elbo_surgery(e.fitted, e.rows, rows=_SURGERY_ROWS, seed=e.seed)


def _judge_elbo_surgery(assessment: Assessment, e: Examination, surgery: ELBOSurgery) -> None:
    """By mutual information, and the divergence of the aggregate posterior from the prior."""
    divergence = surgery.aggregate_kl
    lower, upper = (", a lower bound (near its maximum, log N)", ", an upper bound") if surgery.saturated else ("", "")
    assessment.report("kl", *surgery.kl, "KL(guide || prior), nats per datum")
    about = f"mutual information of datum and latents, nats, N = {surgery.rows} {e.noun}{lower}"
    assessment.report("mutual_information", *surgery.mutual_information, about)
    assessment.report("aggregate_posterior_kl", *divergence, f"KL(aggregate posterior || prior), nats{upper}")
    if divergence.value > REMARKABLE and not surgery.saturated:
        message = f"the aggregate posterior differs from the prior: the KL divergence is {divergence.value:.2g} nats"
        assessment.find("prior", None, f"{message}, which a better prior would gain", Remedies(e).flexible_prior)


def _elbo_decomposition(e: Examination) -> Decomposition:
    return decompose(e.fitted, e.rows, _DECOMPOSITION_DRAWS, seed=e.seed)


def _judge_elbo_decomposition(assessment: Assessment, e: Examination, decomposition: Decomposition) -> None:
    for name, reconstruction in decomposition.reconstruction.items():
        about = f"reconstruction term of the ELBO, E[log p({name} | latents)], nats per datum"
        assessment.report(f"reconstruction_{name}", *reconstruction.mean(), about)


ACTIVE_UNITS = Check("active_units", "latents", ("posterior",), ("local",), _active_units, _judge_active_units)
ELBO_SURGERY = Check("elbo_surgery", "latents", ("posterior",), ("local",), _elbo_surgery, _judge_elbo_surgery)
ELBO_DECOMPOSITION = Check(
    "elbo_decomposition",
    "latents",
    ("posterior",),
    ("local",),
    _elbo_decomposition,
    _judge_elbo_decomposition,
    takes_points=True,
)
