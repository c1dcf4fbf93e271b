"""Checks of the model's fit to the data: likelihoods, replicated data, overfitting, influence, samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.diagnostics.core.row_blocks import random_rows
from pyrogen.diagnostics.model_checks.outliers import OutlierScores, roc_auc
from pyrogen.diagnostics.model_checks.predictive_checks import PredictiveCheck, Statistic, predictive_check
from pyrogen.diagnostics.model_checks.simulation import simulated_data
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.remedies import Remedies
from pyrogen.diagnostics.report.thresholds import ALPHA, Assessment, Bounds
from pyrogen.diagnostics.samples.features import suited_features
from pyrogen.diagnostics.samples.sample_quality import SampleQuality, draw_samples, sample_quality
from pyrogen.inference import evaluation_context, log_likelihood

AUC = Bounds(0.1)  # |area under the ROC curve - 1/2|
PREDICTIVE = Bounds(0.1)  # standard deviations of the data
OVERFITTED = Bounds(0.2)  # standard deviations of log p(x) over data
ACCURACY = Bounds(0.75, 0.98)  # of a classifier of samples against data; above the second it tells every sample
COPIED = Bounds(0.6)  # probability that a sample is nearer to the training data than a new datum is

_TRAINING_DRAWS = 100
_BATCH = 50
"""Samples drawn between two looks at the clock."""


def _typicality(e: Examination) -> OutlierScores:
    """Log p(x) of the data, and of as many data simulated from the model."""
    e.require_amortized()
    _require_likelihood(e)
    simulated = simulated_data(e.fitted, e.rows, e.rows.n, seconds=e.budget.seconds, seed=e.seed)
    if "exact_log_likelihood" in e.results:
        log_p, draws = e.results["exact_log_likelihood"].value, 1
    else:
        log_p, draws = e.results["importance_weights"].log_likelihood.value, e.budget.draws
    reference = log_likelihood(e.fitted, simulated, draws, seed=e.seed).value
    return OutlierScores(log_p, reference.double().numpy())


def _require_likelihood(e: Examination) -> None:
    if not {"exact_log_likelihood", "importance_weights"} & e.results.keys():
        raise ValueError(f"{e.story.name}: the log-likelihood of each datum could not be computed")


def _judge_typicality(assessment: Assessment, e: Examination, scores: OutlierScores) -> None:
    n, m = len(scores.log_likelihood), len(scores.reference)
    auc = roc_auc(scores.log_likelihood, scores.reference)
    floor = math.sqrt((1 / n + 1 / m) / 12)  # the error if both distributions are equal
    about = f"|ROC AUC - 1/2| of log p(x), {e.noun} against {m} data simulated from the model"
    bad = assessment.judge("typicality", abs(auc.value - 0.5), max(auc.error, floor), AUC, about)
    share = float((scores.p_value < 0.01).mean())
    about = f"share of {e.noun} less typical than 99% of the simulated data"
    assessment.report("outlier_share", share, math.sqrt(max(share, 0.01) * (1 - share) / n), about)
    if bad:
        less = "less" if auc.value < 0.5 else "more"
        message = f"the {e.noun} are {less} probable than data simulated from the model (ROC AUC {auc.value:.2f})"
        assessment.find("misfit", bad, message, Remedies(e).see_samples, Remedies(e).larger_model)


def _predictive_check(e: Examination) -> dict[str, PredictiveCheck]:
    """Mean and standard deviation of each observed site."""
    if e.kind != "shared" and not e.fixed_rows and (seconds := _seconds_of_replications(e)) > e.budget.seconds:
        raise ValueError(f"{e.budget.replications} replications of {e.rows.n} data would take {seconds:.0f} s")
    statistics: dict[str, Statistic] = {}
    for site in e.observed:
        statistics[f"mean of {site}"] = _of(site, torch.mean)
        statistics[f"standard deviation of {site}"] = _of(site, torch.std)
    under: Any = "posterior" if e.kind == "shared" else "prior"
    return predictive_check(e.fitted, e.rows, statistics, e.budget.replications, under=under, seed=e.seed)


def _seconds_of_replications(e: Examination) -> float:
    """Extrapolated from one simulated datum, which a replication takes longer than, and if need be from a few."""
    seconds = 0.0
    for rows, times in ((1, e.budget.replications), (_BATCH, e.rows.n / _BATCH * e.budget.replications)):
        start = time.perf_counter()
        simulated_data(e.fitted, e.rows, rows, seed=e.seed)
        seconds = (time.perf_counter() - start) * times
        if seconds > e.budget.seconds:
            break
    return seconds


def _of(site: str, statistic: Callable[[Any], Any]) -> Statistic:
    return lambda values: statistic((values[site] if isinstance(values, dict) else values).double())


def _judge_predictive_check(assessment: Assessment, e: Examination, checks: Mapping[str, PredictiveCheck]) -> None:
    for site in e.observed:
        mean, sd = checks[f"mean of {site}"], checks[f"standard deviation of {site}"]
        scale = float(sd.observed) or 1.0
        shift = abs(float(mean.observed - mean.replicated.mean())) / scale
        change = abs(float(sd.replicated.mean()) / scale - 1)
        for key, name, value, check in (("mean", "mean", shift, mean), ("sd", "standard deviation", change, sd)):
            about = f"|{name} of {site}, observed - replicated|, in standard deviations of the data"
            error = float(check.replicated.std() / scale)
            if bad := assessment.judge(f"predictive_{key}_{site}", value, error, PREDICTIVE, about):
                message = f"the {name} of replicated {site} is {value:.2g} standard deviations from that of the data"
                assessment.find("misfit", bad, message, Remedies(e).see_samples, Remedies(e).larger_model)


def _overfitting(e: Examination) -> tuple[Array, Array]:
    """Log p(x), or the ELBO, of training data and of the data."""
    if e.training is None or e.of_training:
        raise ValueError("no training data were given besides the data")
    _require_likelihood(e)
    with evaluation_context(e.fitted, e.seed) as context:
        rows = random_rows(context.batch(e.training), e.rows.n)
    training = log_likelihood(e.fitted, rows, _TRAINING_DRAWS, seed=e.seed)
    if "importance_weights" in e.results:
        return training.elbo.double().numpy(), e.results["importance_weights"].elbo.value
    return training.value.double().numpy(), e.results["exact_log_likelihood"].value


def _judge_overfitting(assessment: Assessment, e: Examination, values: tuple[Array, Array]) -> None:
    training, new = (np.asarray(v, dtype=np.float64) for v in values)
    error = math.sqrt(sum(float(v.var(ddof=1)) / len(v) for v in (training, new)))
    gap = Estimate(float(training.mean() - new.mean()), error)
    spread = float(new.std()) or 1.0
    bound = "ELBO" if "importance_weights" in e.results else "log p(x)"
    about = f"generalization gap: {bound} of training data minus that of new data, nats per datum"
    assessment.report("generalization_gap", *gap, about)
    about = f"generalization gap in standard deviations of the {bound} over data"
    if bad := assessment.judge("overfitting", gap.value / spread, gap.error / spread, OVERFITTED, about):
        message = f"the model overfits: the {bound} of training data is {gap.value:.2g} nats above that of new data"
        assessment.find("overfitted", bad, message, Remedies(e).stop_earlier)


class ComparedSamples(NamedTuple):
    """Samples, and how they compare with held-out data.

    Args:
        quality: the comparison.
        samples: (n, *event shape), on the CPU.
    """

    quality: SampleQuality
    samples: Tensor


def _sample_quality(e: Examination) -> ComparedSamples:
    batches: list[Tensor] = []
    start = time.perf_counter()
    while len(batches) * _BATCH < e.budget.samples:
        if batches and time.perf_counter() - start > e.budget.seconds:
            break
        batches.append(draw_samples(e.fitted, e.data, _BATCH, seed=e.seed + len(batches)))
    samples = torch.cat(batches)
    features = None if e.training is None else suited_features(e.training)
    quality = sample_quality(samples, e.data, features=features, seed=e.seed, training=e.training)
    return ComparedSamples(quality, samples)


_SAMPLE_METRICS = {
    "frechet_distance": "Fréchet distance of samples and data, 0 is best",
    "kernel_distance": "kernel distance (squared MMD) of samples and data, 0 is best",
    "precision": "share of samples within the neighbourhoods of the data",
    "recall": "share of data within the neighbourhoods of the samples",
    "density": "number of data neighbourhoods that contain a sample, over its expected value; 1 is best",
    "coverage": "share of data with a sample in their neighbourhood",
}


def _judge_sample_quality(assessment: Assessment, e: Examination, compared: ComparedSamples) -> None:
    quality = compared.quality
    for name, about in _SAMPLE_METRICS.items():
        value, error = getattr(quality, name)
        assessment.report(name, value, error, f"{about}; in {quality.features}")
    accuracy = quality.two_sample_accuracy
    about = "accuracy of a classifier of samples against data (classifier two-sample test), 1/2 is best"
    if bad := assessment.judge("two_sample_accuracy", *accuracy, ACCURACY, about):
        message = f"a classifier distinguishes samples from {e.noun} with an accuracy of {accuracy.value:.0%}"
        assessment.find("misfit", bad, message, Remedies(e).see_samples, Remedies(e).train_longer)
    if quality.memorization is None or quality.memorization_p_value is None:
        return
    about = "probability that a sample is nearer to the training data than a held-out datum is, 1/2 is expected"
    bad = assessment.judge("memorization", *quality.memorization, COPIED, about)
    if bad and quality.memorization_p_value < ALPHA:
        share = f"{quality.memorization.value:.0%}"
        message = f"the model memorizes: samples are nearer to training data than held-out data in {share} of pairs"
        assessment.find("memorized", bad, message, Remedies(e).stop_earlier)


TYPICALITY = Check("typicality", "fit", ("samples", "posterior"), ("local", "exact"), _typicality, _judge_typicality)
PREDICTIVE_CHECK = Check(
    "predictive_check",
    "fit",
    ("samples", "posterior"),
    ("local", "exact", "shared"),
    _predictive_check,
    _judge_predictive_check,
    takes_points=True,
)
OVERFITTING = Check(
    "overfitting", "fit", ("samples", "posterior"), ("local", "exact"), _overfitting, _judge_overfitting
)
SAMPLE_QUALITY = Check("sample_quality", "fit", ("samples",), ("samples",), _sample_quality, _judge_sample_quality)
