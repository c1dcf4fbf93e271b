"""Checks of the guide's location, scale and correlations: by simulation-based calibration, or by joint weights."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimate, Estimates
from pyrogen.diagnostics.guide.calibration import Calibration, check_calibration
from pyrogen.diagnostics.guide.corrected_moments import Moments
from pyrogen.diagnostics.guide.datum_moments import DatumMoments, datum_moments
from pyrogen.diagnostics.guide.importance import ImportanceWeights, importance_weights
from pyrogen.diagnostics.guide.missed_modes import MissedModes, missed_modes, prior_log_likelihoods
from pyrogen.diagnostics.guide.starts import Starts, compare_starts
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.findings import Finding
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import ALPHA, Assessment, Bounds, critical, worst

SHIFT = Bounds(0.2, 0.5)  # standard deviations of the guide
CORRELATION = Bounds(0.2, 0.5)
NARROW, WIDE = Bounds(0.8, 0.5, above=False), Bounds(1.25, 2.0)  # guide's standard deviation over the posterior's
RMS_SHIFT = Bounds(0.2, 0.5)  # standard deviations of the guide
RMS_WIDTH = Bounds(math.log(1.25), math.log(2.0))

APART = Bounds(0.5, 1.0)  # standard deviations

MISSED = Bounds(0.001, 0.5)  # share of data

_MAX_SEARCHED, _SEARCHED_ROWS = 4, 500
"""Number of latents of a datum up to which modes are searched by draws from the prior, and least number of data."""

LEVEL = 0.8
"""The level of the central intervals whose coverage is judged."""

DISTANCE = Bounds(0.1)  # Kolmogorov-Smirnov


def _calibration(e: Examination) -> Calibration:
    sizes = {"simulations": e.budget.simulations, "draws": e.budget.ranked}
    return check_calibration(e.fitted, e.rows, **sizes, seed=e.seed)


def _judge_calibration(assessment: Assessment, e: Examination, calibration: Calibration) -> None:
    """By the ranks of true latents of simulated data: coverage, shift, correlations, uniformity."""
    sites = calibration.ranks.items()
    names = [f"{site}{list(i) if i else ''}" for site, ranks in sites for i in np.ndindex(ranks.shape[1:])]
    n, k = len(calibration.tarp), len(names)
    about = "p-value of simulation-based calibration: ranks of true latents among draws are uniform"
    assessment.report("calibration_p_value", calibration.p_value, math.nan, about)
    _judge_coverage(assessment, e, calibration, names)
    shift = Estimates.joined(Estimates(s.value.ravel(), s.error.ravel()) for s in calibration.shift.values())
    _judge_shift(assessment, e, shift, names)
    if calibration.dependence is not None and k > 1:
        _judge_correlations(assessment, e, calibration.dependence, names)
    ranks = np.column_stack([calibration.tarp, *(ranks.reshape(n, -1) for ranks in calibration.ranks.values())])
    distance = max(_distance(column, calibration.draws + 1) for column in ranks.T)
    # The error is such that `critical` of them are the band of Dvoretzky, Kiefer and Wolfowitz.
    band = math.sqrt(math.log(2 * (k + 1) / ALPHA) / (2 * n)) / critical()
    about = "largest Kolmogorov-Smirnov distance of the ranks of a latent from the uniform distribution"
    bad = assessment.judge("rank_distance", distance, band, DISTANCE, about)
    if bad and not {"narrow", "wide", "shifted", "correlations"} & {f.kind for f in assessment.findings}:
        message = f"the guide is not calibrated: ranks of true latents are {distance:.0%} from uniform"
        assessment.find("shape", bad, message, Remedies(e).weight_draws, Remedies(e).flexible_guide)


def _judge_coverage(assessment: Assessment, e: Examination, calibration: Calibration, names: list[str]) -> None:
    k = len(names)
    for kind, bounds, which, sign in (("narrow", NARROW, "min", -1), ("wide", WIDE, "max", 1)):
        place, value, error = _extreme_coverage(calibration, sign)
        about = f"coverage of central {LEVEL:.0%} intervals on simulated data, {which}imum over {k} latents"
        limits = Bounds(_coverage(bounds.caution), _coverage(bounds.severe), bounds.above)
        if bad := assessment.judge(f"coverage_{which}", value, error, limits, about, k):
            message = f"its central {LEVEL:.0%} intervals of {names[place]} contain {value:.0%} of the true values"
            remedy = Remedies(e).weight_draws if kind == "narrow" else Remedies(e).train_longer
            assessment.find(kind, bad, f"the guide is too {kind}: {message}", remedy, Remedies(e).flexible_guide)


def too_wide(calibration: Calibration) -> bool:
    """Whether the intervals of some latent hold more true values than the tolerance allows.

    Args:
        calibration: of the guide.

    Returns:
        True if the largest coverage of a central 80 % interval is above the threshold.
    """
    return _extreme_coverage(calibration, 1)[1] > _coverage(WIDE.caution)


def _extreme_coverage(calibration: Calibration, sign: int) -> tuple[int, float, float]:
    """The latent with the least (-1) or largest (1) coverage, its coverage, and the error of that if calibrated."""
    covered = np.concatenate([e.value[0].ravel() for e in calibration.coverage([LEVEL]).values()])
    place = int(np.argmax(sign * covered))
    return place, float(covered[place]), math.sqrt(LEVEL * (1 - LEVEL) / len(calibration.tarp))


def _coverage(ratio: float) -> float:
    """Coverage of central 80 % intervals whose standard deviation is `ratio` times the posterior's, both normal."""
    normal = NormalDist()
    return 2 * normal.cdf(ratio * normal.inv_cdf((1 + LEVEL) / 2)) - 1


def _judge_shift(assessment: Assessment, e: Examination, shift: Estimates, names: list[str]) -> None:
    place, value, error = worst(shift, np.abs(shift.value))
    about = "largest |posterior mean - guide mean| of a latent, in standard deviations of the guide"
    if bad := assessment.judge("mean_shift", value, error, SHIFT, about, len(names)):
        side = "low" if shift.value[place] > 0 else "high"
        message = f"the guide is shifted: its mean of {names[place]} is {value:.2g} standard deviations too {side}"
        assessment.find("shifted", bad, message, Remedies(e).train_longer, Remedies(e).weight_draws)


def _judge_correlations(assessment: Assessment, e: Examination, difference: Estimates, names: list[str]) -> None:
    pairs = np.triu_indices(len(names), 1)
    each = Estimates(difference.value[pairs], difference.error[pairs])
    place, value, error = worst(each, np.abs(each.value))
    about = "largest |posterior correlation - guide correlation| of two latents"
    if bad := assessment.judge("correlation_error", value, error, CORRELATION, about, len(each.value)):
        i, j = (names[p[place]] for p in pairs)
        message = f"the guide misses correlations: posterior minus guide is {each.value[place]:+.2f} for {i} and {j}"
        assessment.find("correlations", bad, message, Remedies(e).flexible_guide)


def _distance(ranks: Array, cells: int) -> float:
    below = np.bincount(ranks, minlength=cells).cumsum() / len(ranks)
    return float(np.abs(below - np.arange(1, cells + 1) / cells).max())


def _datum_moments(e: Examination) -> DatumMoments:
    return datum_moments(e.fitted, e.rows, e.budget.draws, seed=e.seed)


def _judge_datum_moments(assessment: Assessment, e: Examination, moments: DatumMoments) -> None:
    """By the weighted moments of each datum, whose errors do not cancel over data."""
    k, names = len(moments.names), moments.names
    place, value, error = worst(moments.rms_shift)
    about = f"|posterior mean - guide mean| of a latent, root mean square over {e.noun}, in guide's standard deviations"
    if bad := assessment.judge("datum_shift", value, error, RMS_SHIFT, about, k):
        share = f"for {float((np.abs(moments.shift.value[:, place]) > RMS_SHIFT.caution).mean()):.0%} of the {e.noun}"
        message = f"the guide's means of {names[place]} are {value:.2g} standard deviations off (root mean square)"
        assessment.find(
            "shifted",
            bad,
            f"{message}, by more than {RMS_SHIFT.caution} {share}",
            *(Remedies(e).train_longer, Remedies(e).weight_draws),
        )
    place, value, error = worst(moments.rms_log_width)
    about = f"|log(guide's standard deviation / posterior's)| of a latent, root mean square over {e.noun}"
    if bad := assessment.judge("datum_width", value, error, RMS_WIDTH, about, k):
        ratio = 1 + moments.width.value[:, place]
        low, high = (float(np.quantile(ratio, q)) for q in (0.1, 0.9))
        message = f"the guide's standard deviations of {names[place]} are {low:.2f} to {high:.2f} times the posterior's"
        actions = Remedies(e).weight_draws, Remedies(e).flexible_guide
        assessment.find("wide" if low > 1 else "narrow", bad, f"{message} (80% of the {e.noun})", *actions)
    if moments.rms_dependence is not None:
        place, value, error = worst(moments.rms_dependence)
        about = f"|posterior correlation - guide correlation| of two latents, root mean square over {e.noun}"
        if bad := assessment.judge("datum_correlation", value, error, CORRELATION, about, k * (k - 1) // 2):
            pair = " and ".join(names[i] for i in divmod(place, k))
            message = f"the guide misses correlations by {value:.2g} (root mean square over {e.noun}) for {pair}"
            assessment.find("correlations", bad, message, Remedies(e).flexible_guide)


def _missed_modes(e: Examination) -> MissedModes:
    if "datum_moments" not in e.results:
        raise ValueError(f"{e.story.name}: the draws of a datum have no weights of their own")
    if len(e.results["datum_moments"].names) > _MAX_SEARCHED:
        raise ValueError(f"draws from the prior of more than {_MAX_SEARCHED} latents rarely fit a datum")
    rows = e.rows if e.fixed_rows else e.choose_rows(max(_SEARCHED_ROWS, e.budget.rows))
    weights = importance_weights(e.fitted, rows, e.budget.draws, seed=e.seed)
    return missed_modes(prior_log_likelihoods(e.fitted, rows, e.budget.draws, seed=e.seed), weights)


def _judge_missed_modes(assessment: Assessment, e: Examination, found: MissedModes) -> None:
    """By the share of data for which draws from the prior find more of p(x) than the guide does."""
    hits, n = int(found.affected.sum()), int(found.compared.sum())
    if not n:
        return
    error = (hits / n - found.least_share(ALPHA)) / critical()  # so that `critical` of them lead to the exact bound
    about = f"share of {n} {e.noun} whose p(x) by draws from the prior exceeds that by draws from the guide"
    bad = assessment.judge("missed_mode_share", hits / n, error, MISSED, about)
    if bad and not {"narrow", "untrained", "correlations", "shifted"} & {f.kind for f in assessment.findings}:
        ratio = math.exp(float(np.median(found.excess.value[found.affected])))
        message = f"for {hits / n:.1%} of the {e.noun} the guide misses a mode of the posterior"
        message += f": p(x) is {ratio:.2g} times what its draws give"
        assessment.find("modes", bad, message, Remedies(e).flexible_guide, Remedies(e).compare_with_mcmc)


def _shared_moments(e: Examination) -> Moments:
    if "joint_weights" not in e.results:
        raise ValueError("there are no joint importance weights")
    found: Moments = e.results["joint_weights"]
    return found


def _judge_shared_moments(assessment: Assessment, e: Examination, moments: Moments) -> None:
    """By the weighted moments; where they show no fault, by whether the weights are known to hold."""
    if e.mixed and assessment.metrics["khat"].verdict != "believe":
        return
    before = len(assessment.findings)
    _judge_moments(assessment, e, moments)
    if len(assessment.findings) == before and assessment.metrics["khat"].verdict == "caution":
        _find_undecided(assessment, e, moments.weights)


def _find_undecided(assessment: Assessment, e: Examination, weights: ImportanceWeights) -> None:
    """The k-hat of the joint weights is on either side of its threshold."""
    khat = Estimate(float(weights.khat[0]), float(weights.khat_error[0]))
    found = f"a Pareto k-hat of {khat} with {weights.num_samples:,} draws, threshold {weights.threshold:.2f}"
    message = f"it is undecided whether importance weights can be relied on: {found}"
    actions = Remedies(e).more_draws, Remedies(e).flexible_guide, Remedies(e).compare_with_mcmc
    purposes = assessment.metrics["khat"].purposes  # of the weights: the likelihood too
    assessment.findings.append(Finding("undecided", "guide", "caution", message, actions, purposes))


def _judge_moments(assessment: Assessment, e: Examination, moments: Moments) -> None:
    k, names = len(moments.names), list(moments.names)
    _judge_shift(assessment, e, moments.shift, names)
    for kind, bounds, which, sign in (("narrow", NARROW, "min", -1), ("wide", WIDE, "max", 1)):
        place, value, error = worst(moments.width, sign * moments.width.value)
        ratio = 1 + sign * value
        about = f"standard deviation of the guide over the posterior's, {which}imum over {k} latents"
        if bad := assessment.judge(f"sd_ratio_{which}", ratio, error, bounds, about, k):
            message = f"its standard deviation of {names[place]} is {ratio:.2f} times the posterior's"
            actions = Remedies(e).weight_draws, Remedies(e).flexible_guide
            assessment.find(kind, bad, f"the guide is too {kind}: {message}", *actions)
    if moments.dependence is not None and k > 1:
        _judge_correlations(assessment, e, moments.dependence, names)


def _starts(e: Examination) -> Starts:
    if not e.starts:
        raise ValueError("there is one run: pass several, diagnose([run, another, ...], data), to look for other modes")
    return compare_starts(e.starts, e.rows, min(1000, e.budget.shared_draws), seed=e.seed)


def _judge_starts(assessment: Assessment, e: Examination, starts: Starts) -> None:
    """By the distance of several fits in standard deviations; those far below the best do not count."""
    best, relevant = int(starts.elbo.argmax()), starts.relevant
    if not relevant[0]:
        nats = starts.elbo[best] - starts.elbo[0]
        message = f"start {best + 1} found a better mode: its ELBO is {nats:.3g} nats above that of the first"
        assessment.find("modes", "do not believe", message, Remedies(e).use_start(best + 1))
    kept = starts.among(relevant)
    far, relabelled = float(kept.distances.max()), float(kept.relabelled.max())
    about = f"largest distance of the means of two of {len(kept.means)} starts, in standard deviations"
    if dropped := int((~relevant).sum()):
        about += f"; {dropped} more ended with an ELBO more than 10 nats below the best"
    if relabelled <= APART.caution < far:
        assessment.report("distance_of_starts", far, math.nan, f"{about}; {relabelled:.2g} after relabelling")
        message = f"the {len(kept.means)} starts differ in the order of their labels alone (label switching)"
        assessment.find("label switching", None, message, Remedies(e).free_of_labels)
    elif bad := assessment.judge("distance_of_starts", far, math.nan, APART, about):
        message = (
            f"the {len(kept.means)} starts ended in different modes: means of {kept.farthest} are {far:.2g} "
            f"standard deviations apart, log p(x, z) differs by {np.ptp(kept.log_joint):.2g} nats"
        )
        assessment.find("modes", bad, message, Remedies(e).compare_with_mcmc)


CALIBRATION = Check("calibration", "guide", ("posterior",), ("local",), _calibration, _judge_calibration)
DATUM_MOMENTS = Check("datum_moments", "guide", ("posterior",), ("local",), _datum_moments, _judge_datum_moments)
MISSED_MODES = Check(
    "missed_modes", "guide", ("likelihood", "posterior"), ("local",), _missed_modes, _judge_missed_modes
)
SHARED_MOMENTS = Check("shared_moments", "guide", ("posterior",), ("shared",), _shared_moments, _judge_shared_moments)
STARTS = Check("starts", "guide", ("likelihood", "posterior"), ("shared",), _starts, _judge_starts, takes_points=True)
