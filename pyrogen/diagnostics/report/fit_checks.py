"""Verdicts on a model: whether it needs its latents, and whether it makes such data as it was given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.diagnostics.elbo.decomposition import Decomposition
from pyrogen.diagnostics.elbo.elbo_surgery import Surgery
from pyrogen.diagnostics.model_checks.leave_one_out import LeaveOneOut
from pyrogen.diagnostics.model_checks.outliers import OutlierScores, roc_auc
from pyrogen.diagnostics.model_checks.predictive_checks import PredictiveCheck
from pyrogen.diagnostics.report.thresholds import ALPHA, Bounds, Ruling
from pyrogen.diagnostics.samples.sample_quality import SampleQuality
from pyrogen.inference import ActiveUnits

__all__ = [
    "judge_fit_of_training",
    "judge_kl",
    "judge_loo",
    "judge_predictive",
    "judge_quality",
    "judge_surgery",
    "judge_typicality",
    "judge_units",
]

APART = Bounds(0.1)  # |area under the ROC curve - 1/2|
OFF = Bounds(0.1)  # standard deviations of the data
OVERFITTED = Bounds(0.2)  # standard deviations of log p(x) over data
TOLD_APART = Bounds(0.75)  # accuracy of a classifier between samples and data
COPIED = Bounds(0.6)  # chance that a sample is nearer to the training data than a new datum is
REMARKABLE = 1.0
"""Nats that a better prior would gain, from where on they are told."""


def judge_units(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By active units: how many latents the posterior uses."""
    units: ActiveUnits = results["units"]
    total = sum(variance.numel() for variance in units.variance.values())
    if not total:
        return
    active = sum(units.active.values())
    ruling.report("active_units", active, 0.0, "latents", f"latents that the posterior uses, of {total}")
    if active == 0:
        said = "no latent is used: the posterior has collapsed to the prior"
        ruling.find("collapsed", "latents", None, said, "where latents are wanted, warm the KL up or take free bits")
    elif active < total:
        said = f"{total - active} of {total} latents are not used"
        ruling.find("unused", "latents", None, said, "the model does not need them; no fault of the guide")


def judge_surgery(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By ELBO surgery: what latents tell of data, and how far all posteriors together are from the prior."""
    found: Surgery = results["surgery"]
    least = "at least this: it is close to the log of their number, " if found.saturated else ""
    ruling.report("kl", *found.kl, "latents", "KL(guide || prior), nats per datum")
    about = f"between data and latents, nats, {least}of {found.rows} {noun}"
    ruling.report("mutual_information", *found.mutual_information, "latents", f"mutual information {about}")
    about = "KL(all posteriors together || prior), nats" + (", at most this" if found.saturated else "")
    ruling.report("aggregate_kl", *found.aggregate_kl, "latents", about)
    if found.aggregate_kl.value > REMARKABLE and not found.saturated:
        said = f"all posteriors together are {found.aggregate_kl.value:.2g} nats from the prior"
        ruling.find("prior", "latents", None, said, "a richer prior (mixture, VampPrior, flow) would gain them")


def judge_kl(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By the parts of the ELBO."""
    parts: Decomposition = results["parts"]
    for name, reconstruction in parts.reconstruction.items():
        about = f"E log p({name} | latents), nats per datum"
        ruling.report(f"reconstruction_{name}", *reconstruction.mean(), "latents", about)


def judge_typicality(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By log p(x) of the data among that of data that the model makes."""
    scores: OutlierScores = results["typicality"]
    area = roc_auc(scores.log_likelihood, scores.reference)
    floor = math.sqrt((1 / len(scores.log_likelihood) + 1 / len(scores.reference)) / 12)  # of equal distributions
    about = (
        f"|1/2 - chance that log p is larger for a datum than for one of {len(scores.reference)} of the model's own|"
    )
    bad = ruling.judge("typicality", abs(area.value - 0.5), max(area.error, floor), APART, "fit", about)
    share = float((scores.p_value < 0.01).mean())
    about = f"share of {noun} that are less typical than 99 % of the model's own"
    ruling.report("outliers", share, math.sqrt(max(share, 0.01) * (1 - share) / len(scores.p_value)), "fit", about)
    if bad:
        less = "less" if area.value < 0.5 else "more"
        said = f"the {noun} are {less} probable than what the model makes ({area.value:.0%} above, half expected)"
        ruling.find("misfit", "fit", bad, said, "the model is not that of these data: see its samples, enrich it")


def judge_predictive(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By mean and standard deviation of replicated data sets."""
    checks: Mapping[str, PredictiveCheck] = results["predictive"]
    for site in {name.partition(" of ")[2] for name in checks}:
        mean, sd = checks[f"mean of {site}"], checks[f"standard deviation of {site}"]
        spread = float(sd.observed) or 1.0
        off = abs(float(mean.observed - mean.replicated.mean())) / spread
        ratio = abs(float(sd.replicated.mean()) / spread - 1)
        for name, value, error in (
            ("mean", off, mean.replicated.std() / spread),
            ("sd", ratio, sd.replicated.std() / spread),
        ):
            what = (
                "|mean of data less replicated|, in their sd" if name == "mean" else "|sd replicated over observed - 1|"
            )
            bad = ruling.judge(f"predictive_{name}_{site}", value, float(error), OFF, "fit", f"{what}, of {site}")
            if bad:
                said = f"replicated {site} has another {'standard deviation' if name == 'sd' else 'mean'} than the data"
                ruling.find(
                    "misfit", "fit", bad, f"{said} ({value:.0%} of a standard deviation off)", "enrich the model"
                )


def judge_fit_of_training(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By the log-likelihood of training data beside that of data that training did not see."""
    seen, new = (np.asarray(v, dtype=np.float64) for v in results["training"])
    gap = Estimate(float(seen.mean() - new.mean()), math.sqrt(_variance(seen) + _variance(new)))
    spread = float(new.std()) or 1.0
    ruling.report(
        "training_gap", *gap, "fit", f"{results['bound']} of training data less that of new data, nats per datum"
    )
    about = "the same in standard deviations over data"
    bad = ruling.judge("overfitting", gap.value / spread, gap.error / spread, OVERFITTED, "fit", about)
    if bad:
        said = f"training data are told better than new ones, by {gap.value:.2g} nats"
        ruling.find("overfitted", "fit", bad, said, "train on more data, stop earlier, or regularize")


def judge_loo(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By leave-one-out: how well each datum is predicted by the others."""
    found: LeaveOneOut = results["loo"]
    ruling.report("elpd_loo", *found.elpd, "fit", "expected log predictive density by leave-one-out, nats")
    share = float(found.unreliable.mean())
    ruling.report(
        "loo_khat_share", share, math.nan, "fit", f"share of {noun} whose k-hat is above {found.threshold:.2f}"
    )
    if share:
        said = f"{found.unreliable.sum()} {noun} weigh much on the posterior, so that their leave-one-out is unreliable"
        ruling.find("influential", "fit", None, said, "look at them; refit without each for its density")


def judge_quality(ruling: Ruling, results: Mapping[str, Any], noun: str) -> None:
    """By samples beside held-out data."""
    found: SampleQuality = results["quality"]
    for name in ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"):
        value, error = getattr(found, name)
        ruling.report(name, value, error, "fit", f"{name.replace('_', ' ')} in {found.features}")
    accuracy = found.two_sample_accuracy
    about = "accuracy of a classifier that tells samples from data, 1/2 at best"
    bad = ruling.judge("two_sample_accuracy", *accuracy, TOLD_APART, "fit", about)
    if bad:
        said = f"samples can be told from {noun}: a classifier is right on {accuracy.value:.0%}"
        ruling.find("misfit", "fit", bad, said, "see the samples; train longer or take a larger model")
    if found.memorization is not None and found.memorization_p_value is not None:
        about = "chance that a sample is nearer to the training data than a new datum, 1/2 for fresh draws"
        bad = ruling.judge("memorization", *found.memorization, COPIED, "fit", about)
        if bad and found.memorization_p_value < ALPHA:
            said = (
                f"samples are copies: {found.memorization.value:.0%} are nearer to the training data than new data are"
            )
            ruling.find("memorized", "fit", bad, said, "train on more data, or stop earlier")


def _variance(values: Array) -> float:
    """Of the mean."""
    return float(values.var(ddof=1)) / len(values)
