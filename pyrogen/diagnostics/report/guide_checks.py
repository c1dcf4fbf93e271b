"""Checks of the guide by its ELBO: importance weights, the gap to log p(x), and convergence of training."""

from __future__ import annotations

import math

import numpy as np
import torch

from pyrogen.diagnostics.core.estimates import Estimate, Estimates
from pyrogen.diagnostics.elbo.convergence import Trend, elbo_trend
from pyrogen.diagnostics.guide.importance import ImportanceWeights, importance_weights
from pyrogen.diagnostics.guide.inference_gaps import InferenceGaps, inference_gaps
from pyrogen.diagnostics.model_checks.simulation import prior_elbo
from pyrogen.diagnostics.report.diagnosis import Verdict
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.moment_checks import FLEXIBLE_GUIDE, TRAIN_LONGER, WEIGHT_OR_ENRICH, too_wide
from pyrogen.diagnostics.report.thresholds import Assessment, Bounds
from pyrogen.inference import Fit, log_likelihood
from pyrogen.inference.likelihood.marginal_likelihood import exact_log_likelihood

SHARE = Bounds(0.05, 0.5)  # of data
NATS = Bounds(0.5, 5.0)  # of KL(q || p): at 0.5 the total variation is at most 1/2 (Pinsker)
GAP_CLOSED = Bounds(0.5, 0.0, above=False)  # from the prior's ELBO to log p(x)

_PRIOR_DRAWS = 100
_GAP_STEPS, _GAP_PARTICLES = 200, 8
_WINDOW, _RECORDS = 0.05, 40
"""The end of the training history that is judged: its share, and its least number of records."""


def _importance_weights(e: Examination) -> ImportanceWeights:
    return importance_weights(e.fitted, e.rows, e.budget.draws, seed=e.seed)


def _judge_importance_weights(assessment: Assessment, e: Examination, weights: ImportanceWeights) -> None:
    """By the log weights of each datum, with log p(x) where it is known, and the prior's ELBO."""
    share = Estimate.share(torch.as_tensor(weights.unreliable))
    khat = f"a Pareto k-hat above {weights.threshold:.2f}"
    about = f"share of {e.noun} with {khat}: their importance weights are unreliable"
    bad = assessment.judge("high_khat_share", *share, SHARE, about)
    exact: Estimates | None = e.results.get("exact_log_likelihood")
    known = weights.log_likelihood if exact is None else exact
    elbo, log_p = weights.elbo.mean(), known.mean()
    assessment.report("elbo", *elbo, f"ELBO, mean of {len(weights.khat)} {e.noun}, nats per datum")
    how = f"importance-weighted estimate, {weights.num_samples} draws" if exact is None else "exact"
    assessment.report("log_likelihood", *log_p, f"log p(x), {how}, nats per datum")
    about = f"effective sample size (ESS) over number of draws, mean over {e.noun}"
    assessment.report("relative_ess", float((weights.ess / weights.num_samples).mean()), math.nan, about)
    gap = (known - weights.elbo).mean()
    about = "inference gap, log p(x) - ELBO = KL(guide || posterior), nats per datum"
    far = assessment.judge("inference_gap", *gap, NATS, about)
    if bad:
        _find_high_khat(assessment, e, bad, f"{share.value:.0%} of the {e.noun} have {khat}")
    if far:
        message = f"the guide is far from the posterior: the KL divergence is {gap.value:.2g} nats per datum"
        assessment.find("gap", far, message, WEIGHT_OR_ENRICH)
        if "prior_elbo" in e.results:
            _judge_gap_closed(assessment, elbo, e.results["prior_elbo"].mean(), log_p)


def _find_high_khat(assessment: Assessment, e: Examination, bad: Verdict, khat: str) -> None:
    if "calibration" in e.results and too_wide(e.results["calibration"]):
        message = f"{khat}: their importance weights are unreliable and cannot correct the guide"
        assessment.find("weights", bad, message, "use more draws, or a better guide")
        return
    remedy = "use importance-weighted estimates, or a richer guide"
    if bad == "do not believe":
        remedy = "use a richer guide, or MCMC (sample_reference) on a few data: importance weights cannot correct it"
    assessment.find("narrow", bad, f"the guide is too narrow: {khat}", remedy)


def _judge_gap_closed(assessment: Assessment, elbo: Estimate, prior: Estimate, log_p: Estimate) -> None:
    """How much better than the prior a guide with a large gap is."""
    gap = log_p.value - prior.value
    if not gap > 0:
        return
    closed, error = (elbo.value - prior.value) / gap, math.hypot(elbo.error, prior.error, log_p.error) / gap
    about = "share of the ELBO gap between the prior and log p(x) that the guide closes"
    if bad := assessment.judge("elbo_gap_closed", closed, error, GAP_CLOSED, about):
        share = "none" if closed <= 0 else f"only {closed:.0%}"
        message = f"the guide closes {share} of the ELBO gap between the prior and log p(x)"
        assessment.find("untrained", bad, message, "train it, and check that it depends on x")


def _exact_log_likelihood(e: Examination) -> Estimates:
    exact = hasattr(e.story, "log_prob")
    if e.kind == "local" and not exact:
        raise ValueError(f"{e.story.name} has no exact log p(x)")
    log_p = exact_log_likelihood(e.fitted, e.rows) if exact else log_likelihood(e.fitted, e.rows, 1, exact=False).value
    return Estimates(log_p.double().cpu().numpy(), np.zeros(len(log_p)))


def _inference_gaps(e: Examination) -> InferenceGaps:
    e.require_amortized()
    if not e.budget.refined:
        raise ValueError("the budget allows no separate optimization of posteriors")
    sizes = {"rows": e.budget.refined, "num_samples": e.budget.draws, "steps": _GAP_STEPS, "particles": _GAP_PARTICLES}
    return inference_gaps(e.fitted, e.rows, **sizes, seed=e.seed)


def _judge_inference_gaps(assessment: Assessment, e: Examination, gaps: InferenceGaps) -> None:
    """By optimizing the guide for each datum: the gap due to the encoder, and the gap due to the family."""
    amortization, approximation = gaps.amortization.mean(), gaps.approximation.mean()
    about = f"ELBO gained by optimizing the guide for each datum, nats per datum, on {len(gaps.khat)} {e.noun}"
    if bad := assessment.judge("amortization_gap", *amortization, NATS, about):
        far = f"{amortization.value:.2g} nats per datum"
        message = f"the amortization gap is {far}: the encoder is that far from optimal"
        assessment.find("encoder", bad, message, TRAIN_LONGER)
    about = "log p(x) minus the ELBO of the optimized guide, nats per datum"
    if bad := assessment.judge("approximation_gap", *approximation, NATS, about):
        message = f"the approximation gap is {approximation.value:.2g} nats per datum: the guide's family is too small"
        assessment.find("family", bad, message, FLEXIBLE_GUIDE)


def _convergence(e: Examination) -> Trend:
    if not isinstance(e.fitted, Fit):
        raise ValueError("there is no training history: pass the Fit")
    history = e.fitted.history
    name = "validation_elbo" if history and history[-1].get("validation_elbo") is not None else "train_elbo"
    return elbo_trend(history, name, window=min(0.5, max(_WINDOW, _RECORDS / max(1, len(history)))))


def _judge_convergence(assessment: Assessment, e: Examination, trend: Trend) -> None:
    """By the training history: whether the ELBO still rose, in nats of what one posterior is of."""
    shared = "shared_moments" in e.results
    scale, of = (e.rows.total or e.rows.n, "of all data") if shared else (1, "per datum")
    rise = Estimate(trend.change.value * scale, trend.change.error * scale)
    period = f"over the last {trend.records} records of the training history"
    if bad := assessment.judge("elbo_rise", *rise, Bounds(NATS.caution), f"rise of the ELBO {period}, nats {of}"):
        message = f"training had not converged: the ELBO rose by {rise.value:.2g} nats {of} {period}"
        assessment.find("unfinished", bad, message, "train longer")


IMPORTANCE_WEIGHTS = Check("importance_weights", "guide", ("local",), _importance_weights, _judge_importance_weights)
EXACT_LOG_LIKELIHOOD = Check("exact_log_likelihood", "guide", ("local", "exact"), _exact_log_likelihood)
PRIOR_ELBO = Check("prior_elbo", "guide", ("local",), lambda e: prior_elbo(e.fitted, e.rows, _PRIOR_DRAWS, seed=e.seed))
INFERENCE_GAPS = Check("inference_gaps", "guide", ("local",), _inference_gaps, _judge_inference_gaps)
CONVERGENCE = Check(
    "convergence", "guide", ("local", "shared", "exact"), _convergence, _judge_convergence, takes_points=True
)
