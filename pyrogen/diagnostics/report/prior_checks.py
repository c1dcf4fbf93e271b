"""Checks of the prior: its replications of the data, the shape of the latents, and how much it decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrogen.diagnostics.model_checks.latent_shape import LatentShape, latent_shape
from pyrogen.diagnostics.model_checks.misfit import critical_score
from pyrogen.diagnostics.model_checks.predictive_checks import PredictiveCheck, Statistic, predictive_check
from pyrogen.diagnostics.model_checks.sensitivity import Sensitivity, sensitivity
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import Assessment, Bounds

VAGUE = 100.0
"""Standard deviations of the data over which the prior's replications may spread before it is called vague."""

_REPLICATIONS = 400
_STATISTICS: dict[str, Callable[[Any], Any]] = {
    "mean": torch.mean,
    "standard deviation": torch.std,
    "smallest value": torch.min,
    "largest value": torch.max,
    "share of zeros": lambda values: (values == 0).double().mean(),
}


@dataclass(frozen=True)
class PriorPredictive:
    """Statistics of the data among those of data sets drawn from the prior.

    Args:
        checks: by observed site and statistic.
        own: by name, of the user.
    """

    checks: Mapping[str, Mapping[str, PredictiveCheck]]
    own: Mapping[str, PredictiveCheck]


def _prior_predictive(e: Examination) -> PriorPredictive:
    wanted: dict[str, Statistic] = {f"user's {name}": statistic for name, statistic in e.statistics.items()}
    wanted |= {f"{name} of {site}": _of(site, s) for site in e.observed for name, s in _STATISTICS.items()}
    found = predictive_check(e.fitted, e.rows, wanted, _REPLICATIONS, under="prior", seed=e.seed)
    checks = {site: {name: found[f"{name} of {site}"] for name in _STATISTICS} for site in e.observed}
    return PriorPredictive(checks, {name: found[f"user's {name}"] for name in e.statistics})


def _of(site: str, statistic: Callable[[Any], Any]) -> Statistic:
    return lambda values: statistic((values[site] if isinstance(values, dict) else values).double())


def _judge_prior_predictive(assessment: Assessment, e: Examination, result: PriorPredictive) -> None:
    """By statistics of the data that are improbable under the prior; a vague prior is a remark."""
    named = {f"{name} of {site}": check for site, checks in result.checks.items() for name, check in checks.items()}
    misfits = [misfit for name, check in {**named, **result.own}.items() for misfit in check.misfits(name)]
    far = critical_score(len(misfits))
    for misfit in misfits:
        about = (
            f"{misfit.name} of the data among {_REPLICATIONS} data sets drawn from the prior, in standard deviations"
        )
        key = f"prior_{misfit.name.replace(' ', '_')}"
        if bad := assessment.judge(key, abs(misfit.score), math.nan, Bounds(far), about):
            message = f"the data are improbable under the prior: the {misfit.message}"
            assessment.find("prior-data conflict", bad, message, Remedies(e).see_prior)
    for site, checks in result.checks.items():
        sd = float(checks["standard deviation"].observed) or 1.0
        spread = float(np.median(checks["standard deviation"].replicated)) / sd
        about = f"median standard deviation of {site} under the prior over that of the data"
        assessment.report(f"prior_spread_{site}", spread, math.nan, about)
        if spread > VAGUE:
            message = f"the prior is vague: data drawn from it spread {spread:.3g} times as far as {site}"
            assessment.find("vague prior", None, message, Remedies(e).see_prior)


def _latent_shape(e: Examination) -> LatentShape:
    return latent_shape(e.fitted, e.rows, rows=e.budget.rows, seconds=e.budget.seconds, seed=e.seed)


def _judge_latent_shape(assessment: Assessment, e: Examination, shape: LatentShape) -> None:
    far = critical_score(len(shape.statistics))
    worst = max(shape.statistics, key=lambda s: abs(s.score))
    about = f"largest distance of a statistic of the latents' shape from its {shape.reference}, in standard deviations"
    about += f": {worst.name}; {shape.rows:,} of {shape.of:,} {e.noun}"
    if assessment.fault_of_guide():  # which gives another shape to the latents of any data
        assessment.report("latent_shape", abs(worst.score), math.nan, about)
        return
    bad = assessment.judge("latent_shape", abs(worst.score), math.nan, Bounds(far), about)
    clusters = next(s for s in shape.statistics if s.name.startswith("clusters"))
    if bad:
        first = clusters if clusters.score > far else worst
        assessment.find("misfit", bad, first.message, Remedies(e).flexible_prior)


def _sensitivity(e: Examination) -> Sensitivity:
    return sensitivity(e.fitted, e.rows, e.budget.shared_draws, seed=e.seed)


def _judge_sensitivity(assessment: Assessment, e: Examination, result: Sensitivity) -> None:
    """A remark: how much the prior decides is no fault."""
    for source, values in (("prior", result.prior), ("likelihood", result.likelihood)):
        about = f"largest change of a latent's marginal as the {source} is raised to a power near 1 (power-scaling)"
        assessment.report(f"{source}_sensitivity", max(values.values()), math.nan, about)
    assessment.find("sensitivity", None, result.sentence, *([Remedies(e).other_prior] if result.prior_matters else []))


PRIOR_PREDICTIVE = Check(
    "prior_predictive", "fit", ("samples",), ("prior",), _prior_predictive, _judge_prior_predictive
)
LATENT_SHAPE = Check(
    "latent_shape", "fit", ("samples", "posterior"), ("local", "shared"), _latent_shape, _judge_latent_shape
)
SENSITIVITY = Check("sensitivity", "fit", ("posterior",), ("shared",), _sensitivity, _judge_sensitivity)
