"""Checks of the guide by its ELBO: importance weights, the gap to log p(x), and convergence of training."""

from __future__ import annotations

import math

import numpy as np
import torch

from pyrogen.diagnostics.core.estimates import Estimate, Estimates
from pyrogen.diagnostics.elbo.convergence import Trend, elbo_trend
from pyrogen.diagnostics.guide.corrected_moments import Moments, shared_moments
from pyrogen.diagnostics.guide.importance import ImportanceWeights, importance_weights
from pyrogen.diagnostics.guide.inference_gaps import InferenceGaps, inference_gaps
from pyrogen.diagnostics.model_checks.simulation import prior_elbo
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.findings import Metric, Verdict
from pyrogen.diagnostics.report.moment_checks import too_wide
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import Assessment, Bounds
from pyrogen.inference import Fit, log_likelihood
from pyrogen.inference.likelihood.marginal_likelihood import exact_log_likelihood

SHARE = Bounds(0.05, 0.5)  # of data
NATS = Bounds(0.5, 5.0)  # of KL(q || p): at 0.5 the total variation is at most 1/2 (Pinsker)
GAP_CLOSED = Bounds(0.5, 0.0, above=False)  # from the prior's ELBO to log p(x)

_PRIOR_DRAWS = 100
_GAP_STEPS, _GAP_PARTICLES = 200, 8
_SLOWEST = 0.9
"""Largest ratio of two successive rises of the importance-weighted bound that is extrapolated."""
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
        assessment.find("gap", far, message, Remedies(e).weight_draws, Remedies(e).flexible_guide)
        if "prior_elbo" in e.results:
            _judge_gap_closed(assessment, e, elbo, e.results["prior_elbo"].mean(), log_p)


def _find_high_khat(assessment: Assessment, e: Examination, bad: Verdict, khat: str) -> None:
    if "calibration" in e.results and too_wide(e.results["calibration"]):
        message = f"{khat}: their importance weights are unreliable and cannot correct the guide"
        assessment.find("weights", bad, message, Remedies(e).more_draws, Remedies(e).train_longer)
        return
    message, other = f"the guide is too narrow: {khat}", Remedies(e).weight_draws
    if bad == "do not believe":
        message, other = f"{message}, and importance weights cannot correct it", Remedies(e).compare_with_mcmc
    assessment.find("narrow", bad, message, Remedies(e).flexible_guide, other)


def _judge_gap_closed(assessment: Assessment, e: Examination, elbo: Estimate, prior: Estimate, log_p: Estimate) -> None:
    """How much better than the prior a guide with a large gap is."""
    gap = log_p.value - prior.value
    if not gap > 0:
        return
    closed, error = (elbo.value - prior.value) / gap, math.hypot(elbo.error, prior.error, log_p.error) / gap
    about = "share of the ELBO gap between the prior and log p(x) that the guide closes"
    if bad := assessment.judge("elbo_gap_closed", closed, error, GAP_CLOSED, about):
        share = "none" if closed <= 0 else f"only {closed:.0%}"
        message = f"the guide closes {share} of the ELBO gap between the prior and log p(x)"
        assessment.find("untrained", bad, message, Remedies(e).train_longer)


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
        assessment.find("encoder", bad, message, Remedies(e).train_longer, Remedies(e).larger_model)
    about = "log p(x) minus the ELBO of the optimized guide, nats per datum"
    if bad := assessment.judge("approximation_gap", *approximation, NATS, about):
        message = f"the approximation gap is {approximation.value:.2g} nats per datum: the guide's family is too small"
        assessment.find("family", bad, message, Remedies(e).flexible_guide)


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
        assessment.find("unfinished", bad, message, Remedies(e).train_longer)


def _joint_weights(e: Examination) -> Moments:
    draws = {"num_samples": e.budget.shared_draws, "max_samples": e.budget.max_shared_draws}
    return shared_moments(e.fitted, e.rows, **draws, seed=e.seed)


def _judge_joint_weights(assessment: Assessment, e: Examination, moments: Moments) -> None:
    """By joint importance weights of all latents, within the error of their k-hat."""
    weights, k = moments.weights, len(moments.names)
    draws, khat, error = weights.num_samples, float(weights.khat[0]), float(weights.khat_error[0])
    assessment.report("elbo", *weights.elbo.sum(), "ELBO of all data, nats")
    about = f"log p(x) of all data, importance-weighted estimate, {draws} draws, nats"
    assessment.report("log_likelihood", *weights.log_likelihood.sum(), about)
    about = "effective sample size (ESS) over number of draws"
    assessment.report("relative_ess", float(weights.ess[0] / draws), math.nan, about)
    undecided = bool(weights.undecided[0])
    counts = bool(weights.unreliable[0] | undecided) and not weights.sufficient[0]
    verdict: Verdict = "believe" if not counts else "caution" if undecided or e.mixed else "do not believe"
    about = f"Pareto k-hat of the joint importance weights of all {k} latents, {draws} draws"
    if weights.negligible[0] or weights.sufficient[0]:
        about += "; not judged where the ESS is above half of the draws"
    judged = (khat, error, weights.threshold, verdict)
    assessment.metrics["khat"] = Metric(*judged, assessment.part, about, assessment.purposes)
    actions = Remedies(e).flexible_guide, Remedies(e).compare_with_mcmc
    if counts and e.mixed:
        # Of many latents the joint weights fail long before the guide of each does.
        message = f"{k} latents, shared ones and those of each datum, are too many for joint importance weights"
        assessment.find("untested", verdict, f"{message} (Pareto k-hat {khat:.2f})", actions[1])
    elif verdict == "do not believe":
        message = f"the guide misses part of the posterior: with a Pareto k-hat of {khat:.2f} weights cannot correct it"
        assessment.find("narrow", verdict, message, *actions)


def _likelihood_gap(e: Examination) -> Estimate:
    """Nats by which the importance-weighted bound is below log p(x), by its rise from a quarter of the draws on."""
    # Where the gap falls as a power of the number of draws, its rises over doublings fall by a constant ratio, and what
    # remains is a geometric series. The ratio is 1/2 for weights of finite variance, and tends to 1 without a mean.
    if "importance_weights" not in e.results:
        raise ValueError("there are no importance weights of each datum")
    weights: ImportanceWeights = e.results["importance_weights"]
    quarter, half, whole = (weights.bound(weights.num_samples // parts).value for parts in (4, 2, 1))
    before, last = (Estimate.mean(torch.from_numpy(rise)) for rise in (half - quarter, whole - half))
    ratio = min(max(last.value / before.value, 0.5), _SLOWEST) if before.value > 0 else 0.5
    remaining = ratio / (1 - ratio)
    return Estimate(max(0.0, last.value) * remaining, last.error * remaining)


def _judge_likelihood_gap(assessment: Assessment, e: Examination, gap: Estimate) -> None:
    if "exact_log_likelihood" in e.results:
        return
    about = f"nats by which log p(x) with {e.budget.draws} draws is too low, by its rise with their number"
    if bad := assessment.judge("likelihood_gap", *gap, NATS, about):
        message = f"log p(x) is too low by about {gap.value:.2g} nats per datum: it still rises with draws"
        assessment.find("loose", bad, message, Remedies(e).count_draws, Remedies(e).flexible_guide)


IMPORTANCE_WEIGHTS = Check(
    "importance_weights", "guide", ("posterior",), ("local",), _importance_weights, _judge_importance_weights
)
LIKELIHOOD_GAP = Check("likelihood_gap", "guide", ("likelihood",), ("local",), _likelihood_gap, _judge_likelihood_gap)
EXACT_LOG_LIKELIHOOD = Check(
    "exact_log_likelihood", "guide", ("likelihood",), ("local", "exact"), _exact_log_likelihood
)
PRIOR_ELBO = Check(
    "prior_elbo",
    "guide",
    ("posterior",),
    ("local",),
    lambda e: prior_elbo(e.fitted, e.rows, _PRIOR_DRAWS, seed=e.seed),
)
JOINT_WEIGHTS = Check(
    "joint_weights", "guide", ("likelihood", "posterior"), ("shared",), _joint_weights, _judge_joint_weights
)
INFERENCE_GAPS = Check("inference_gaps", "guide", ("posterior",), ("local",), _inference_gaps, _judge_inference_gaps)
CONVERGENCE = Check(
    "convergence",
    "guide",
    ("likelihood", "posterior"),
    ("local", "shared", "exact"),
    _convergence,
    _judge_convergence,
    takes_points=True,
)
