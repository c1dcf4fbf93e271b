"""Verdicts on a guide: whether its draws are those of the posterior, and what is wrong where they are not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from pyrogen.diagnostics.core.estimates import Array, Estimate, Estimates
from pyrogen.diagnostics.elbo.convergence import Trend
from pyrogen.diagnostics.guide.calibration import Calibration
from pyrogen.diagnostics.guide.corrected_moments import Moments
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.diagnostics.guide.inference_gaps import InferenceGaps
from pyrogen.diagnostics.report.diagnosis import Metric, Verdict
from pyrogen.diagnostics.report.thresholds import ALPHA, Bounds, Ruling, critical, worst

__all__ = ["judge_calibration", "judge_gaps", "judge_moments", "judge_trend", "judge_weights"]

SHARE = Bounds(0.05, 0.5)  # of data
NATS = Bounds(0.5, 5.0)  # of KL(q || p): at 0.5 the total variation is at most 1/2 (Pinsker)
PROGRESS = Bounds(0.5, 0.0, above=False)  # from the prior to the posterior
SHIFT = Bounds(0.2, 0.5)  # standard deviations
DEPENDENCE = Bounds(0.2, 0.5)  # correlation
NARROW, WIDE = Bounds(0.8, 0.5, above=False), Bounds(1.25, 2.0)  # guide's standard deviation over the posterior's
COVERED = 0.8
"""The level of the intervals whose coverage is judged."""

DISTANCE = Bounds(0.1)  # of distribution functions

_TAIL = "use expectations that are weighted by p / q (their k-hat tells where), or a richer guide"
_WIDER = "use the weighted estimate, or a richer guide"
_RICHER = "use a richer guide, or MCMC on a few data (sample_reference): weights do not mend so many"
_TRAIN = "train the guide longer, or give it a larger network"
_UNTRAINED = "train it, and see that it receives x"
_FULL = "use a guide with correlations (a full covariance, or a flow)"


def judge_weights(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By log weights of each datum, with log p(x) where it is known, and the prior's ELBO."""
    weights: ImportanceWeights = results["weights"]
    share = Estimate.share(torch.as_tensor(weights.unreliable))
    about = f"share of {noun} whose k-hat is above {weights.threshold:.2f}"
    bad = ruling.judge("khat_share", *share, SHARE, "guide", about)
    known: Estimates = results.get("exact", weights.log_likelihood)
    elbo, log_p = weights.elbo.mean(), known.mean()
    ruling.report("elbo", *elbo, "guide", f"ELBO, nats per datum, of {len(weights.khat)} {noun}")
    ruling.report("log_likelihood", *log_p, "guide", f"log p(x), nats per datum{_by(results, weights)}")
    ruling.report("ess_share", float((weights.ess / weights.num_samples).mean()), math.nan, "guide", _ESS)
    gap = _gap(weights, known)
    far = ruling.judge("gap", *gap, NATS, "guide", "log p(x) - ELBO = KL(guide || posterior), nats per datum")
    if bad:
        _say_tail(ruling, bad, share.value, results, noun)
    if far:
        ruling.find("gap", "guide", far, f"the guide is {gap.value:.2g} nats from the posterior", _TAIL)
        if "prior" in results:
            _judge_progress(ruling, elbo, results["prior"].mean(), log_p)


_ESS = "effective number of draws over draws, mean over data"


def _by(results: Mapping[str, Any], weights: ImportanceWeights) -> str:
    return ", exact" if "exact" in results else f", importance-weighted, k = {weights.num_samples}"


def _gap(weights: ImportanceWeights, known: Estimates) -> Estimate:
    """The mean gap, with the errors of both sides."""
    error = np.hypot(known.error, weights.elbo.error)
    return Estimates(known.value - weights.elbo.value, error).mean()


def _say_tail(ruling: Ruling, bad: Verdict, share: float, results: Mapping[str, Any], noun: str) -> None:
    wide = "calibration" in results and _widest(results["calibration"])[1] > _coverage(WIDE.caution)
    if wide:
        said = f"the weights of {share:.0%} of the {noun} hang on a few draws, so that they cannot correct the guide"
        ruling.find("weights", "guide", bad, said, "take more draws, or a better guide")
    else:
        remedy = _RICHER if bad == "do not believe" else _WIDER
        ruling.find("narrow", "guide", bad, f"the guide is too narrow for {share:.0%} of the {noun}", remedy)


def _judge_progress(ruling: Ruling, elbo: Estimate, prior: Estimate, log_p: Estimate) -> None:
    """Of guides that are far off: how much nearer than the prior they are."""
    way = log_p.value - prior.value
    if not way > 0:
        return
    error = math.hypot(elbo.error, prior.error, log_p.error) / way
    about = "how much of the way from the prior's ELBO to log p(x) the guide makes"
    bad = ruling.judge("progress", (elbo.value - prior.value) / way, error, PROGRESS, "guide", about)
    if bad:
        share = ruling.figures["progress"].value
        how = "no" if share <= 0 else f"little ({share:.0%} of the way to the posterior)"
        ruling.find("untrained", "guide", bad, f"the guide is {how} better than the prior", _UNTRAINED)


def judge_calibration(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By ranks of true latents of simulated data: width, shift, correlations, shape."""
    found: Calibration = results["calibration"]
    names = [f"{site}{list(i) if i else ''}" for site, r in found.ranks.items() for i in np.ndindex(r.shape[1:])]
    n, k = len(found.tarp), len(names)
    ruling.report("calibration_p_value", found.p_value, math.nan, "guide", "that ranks of true latents are uniform")
    _judge_width(ruling, found, names)
    shift = _flat(found.shift)
    place, value, error = worst(shift, np.abs(shift.value))
    bad = ruling.judge("shift", value, error, SHIFT, "guide", _SHIFT, k)
    if bad:
        _say_shift(ruling, bad, names[place], float(shift.value[place]))
    if found.dependence is not None and k > 1:
        _judge_dependence(ruling, found.dependence, names)
    distance = max(_distance(ranks, found.draws + 1) for ranks in (found.tarp, *_columns(found.ranks)))
    # The error is such that `critical` of them are the band of Dvoretzky, Kiefer and Wolfowitz.
    band = math.sqrt(math.log(2 * (k + 1) / ALPHA) / (2 * n)) / critical()
    about = "largest distance of a rank's distribution function from the uniform one"
    bad = ruling.judge("calibration", distance, band, DISTANCE, "guide", about)
    if bad and not {"narrow", "wide", "shifted", "correlations"} & {f.kind for f in ruling.findings}:
        ruling.find("shape", "guide", bad, f"ranks of true latents are off by up to {distance:.0%}", _TAIL)


_SHIFT = "largest |mean of posterior less guide| of a latent, in standard deviations of the guide"


def _judge_width(ruling: Ruling, found: Calibration, names: list[str]) -> None:
    k = len(names)
    for kind, bounds, (place, value, error) in (("narrow", NARROW, _narrowest(found)), ("wide", WIDE, _widest(found))):
        which = "least" if kind == "narrow" else "most"
        about = f"of central {COVERED:.0%} intervals of simulated {k} latents, the one that holds {which} true values"
        limits = Bounds(_coverage(bounds.caution), _coverage(bounds.severe), bounds.above)
        bad = ruling.judge(f"coverage_{which}", value, error, limits, "guide", about, k)
        if bad:
            hold = f"its {COVERED:.0%} intervals of {names[place]} hold {value:.0%} of true values"
            ruling.find(kind, "guide", bad, f"the guide is too {kind}: {hold}", _TAIL if kind == "narrow" else _TRAIN)


def _judge_dependence(ruling: Ruling, dependence: Estimates, names: list[str]) -> None:
    pairs = np.triu_indices(len(names), 1)
    found = Estimates(dependence.value[pairs], dependence.error[pairs])
    place, value, error = worst(found, np.abs(found.value))
    about = "largest |correlation of two latents less the guide's|"
    bad = ruling.judge("dependence", value, error, DEPENDENCE, "guide", about, len(found.value))
    if bad:
        i, j = (names[p[place]] for p in pairs)
        said = f"the guide ignores correlations: {found.value[place]:+.2f} more between {i} and {j} than it has"
        ruling.find("correlations", "guide", bad, said, _FULL)


def _say_shift(ruling: Ruling, bad: Verdict, name: str, value: float) -> None:
    side = "low" if value > 0 else "high"
    said = f"the guide is shifted: its {name} is {abs(value):.2g} standard deviations too {side}"
    ruling.find("shifted", "guide", bad, said, _TRAIN)


def judge_gaps(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By local refinement: the encoder's share of the gap, and the family's."""
    gaps: InferenceGaps = results["gaps"]
    rows = len(gaps.khat)
    encoder, family = gaps.amortization.mean(), gaps.approximation.mean()
    about = f"what refining each datum's posterior gains, nats per datum, of {rows} {noun}"
    bad = ruling.judge("amortization_gap", *encoder, NATS, "guide", about)
    if bad:
        said = f"the encoder costs {encoder.value:.2g} nats: each datum's own posterior, refined, is so much better"
        ruling.find("encoder", "guide", bad, said, _TRAIN)
    bad = ruling.judge("approximation_gap", *family, NATS, "guide", "what is left then, nats per datum")
    if bad:
        said = f"the guide's family costs {family.value:.2g} nats: no member of it is the posterior"
        ruling.find("family", "guide", bad, said, _FULL)


def judge_moments(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By weights of all latents together, which data share."""
    found: Moments = results["moments"]
    weights, k = found.weights, len(found.names)
    khat, draws = float(weights.khat[0]), weights.num_samples
    ruling.report("elbo", *weights.elbo.sum(), "guide", "ELBO of all data, nats")
    ruling.report("log_likelihood", *weights.log_likelihood.sum(), "guide", f"log p(x) of all data, nats, k = {draws}")
    ruling.report("ess_share", float(weights.ess[0] / draws), math.nan, "guide", _ESS.removesuffix(", mean over data"))
    # Its own error, (1 + k) over the root of the tail's size, is told, but a guide must be below the threshold to pass.
    error = (1 + khat) / math.sqrt(3 * math.sqrt(draws)) if math.isfinite(khat) else math.nan
    passes, mixed = khat <= weights.threshold, results["mixed"]
    verdict: Verdict = "believe" if passes else "caution" if mixed else "do not believe"
    about = f"Pareto k-hat of all {k} latents together, {draws} draws"
    ruling.figures["khat"] = Metric(khat, error, weights.threshold, verdict, "guide", about)
    if mixed and not passes:
        # Of many latents together the weights fail long before the guide of each does.
        said = f"latents of each datum and shared ones, {k} in all, are too many for weights of all of them together"
        ruling.find("untested", "guide", "caution", said, "integrate those of each datum out, or compare with MCMC")
        return
    if not passes:
        said = f"the guide misses part of the posterior (k-hat {khat:.2f}), so that weights cannot correct it"
        ruling.find("narrow", "guide", verdict, said, "use a richer guide, or MCMC (sample_reference)")
    _judge_moments(ruling, found)


def _judge_moments(ruling: Ruling, found: Moments) -> None:
    k, names = len(found.names), found.names
    place, value, error = worst(found.shift, np.abs(found.shift.value))
    bad = ruling.judge("shift", value, error, SHIFT, "guide", _SHIFT, k)
    if bad:
        _say_shift(ruling, bad, names[place], float(found.shift.value[place]))
    for kind, bounds, sign in (("narrow", NARROW, -1), ("wide", WIDE, 1)):
        place, value, error = worst(found.width, sign * found.width.value)
        ratio, which = 1 + sign * value, "least" if kind == "narrow" else "largest"
        about = f"{which} standard deviation of a latent under the guide over that under the posterior"
        bad = ruling.judge(f"width_{which}", ratio, error, bounds, "guide", about, k)
        if bad:
            off = f"the standard deviation of {names[place]} is {ratio:.2f} of the posterior's"
            ruling.find(kind, "guide", bad, f"the guide is too {kind}: {off}", _TAIL)
    if found.dependence is not None and k > 1:
        _judge_dependence(ruling, found.dependence, list(names))


def judge_trend(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By the history of the run: whether it still rose, in nats of what one posterior is of."""
    trend: Trend = results["trend"]
    scale, of = (results["total"], "of all data") if "moments" in results else (1, "per datum")
    rise = Estimate(trend.change.value * scale, trend.change.error * scale)
    about = f"rise of the ELBO over the last {trend.records} records, nats {of}"
    bad = ruling.judge("rise", *rise, Bounds(NATS.caution), "guide", about)
    if bad:
        said = f"training had not stopped rising: {rise.value:.2g} nats {of} over the last {trend.records} records"
        ruling.find("unfinished", "guide", bad, said, "train longer")


def _coverage(ratio: float) -> float:
    """Of central 80 % intervals whose standard deviation is so much of the posterior's, both normal."""
    normal = NormalDist()
    return 2 * normal.cdf(ratio * normal.inv_cdf((1 + COVERED) / 2)) - 1


def _narrowest(found: Calibration) -> tuple[int, float, float]:
    return _extreme(found, -1)


def _widest(found: Calibration) -> tuple[int, float, float]:
    return _extreme(found, 1)


def _extreme(found: Calibration, sign: int) -> tuple[int, float, float]:
    """The latent whose intervals hold least (-1) or most (1) true values, the share, and its error if calibrated."""
    held = np.concatenate([e.value[0].ravel() for e in found.coverage([COVERED]).values()])
    place = int(np.argmax(sign * held))
    return place, float(held[place]), math.sqrt(COVERED * (1 - COVERED) / len(found.tarp))


def _flat(sites: Mapping[str, Estimates]) -> Estimates:
    return Estimates.joined(Estimates(e.value.ravel(), e.error.ravel()) for e in sites.values())


def _columns(sites: Mapping[str, Array]) -> Iterator[Array]:
    """The ranks of one latent after another."""
    return (column for ranks in sites.values() for column in ranks.reshape(len(ranks), -1).T)


def _distance(ranks: Array, cells: int) -> float:
    below = np.bincount(ranks, minlength=cells).cumsum() / len(ranks)
    return float(np.abs(below - np.arange(1, cells + 1) / cells).max())
