"""Checks of the model's fit to the data: likelihoods, replicated data, overfitting, influence, samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.diagnostics.core.row_blocks import random_rows
from pyrogen.diagnostics.model_checks.leave_one_out import LeaveOneOut, loo
from pyrogen.diagnostics.model_checks.misfit import Misfit, critical_score, misfits
from pyrogen.diagnostics.model_checks.misfit_statistics import Kind
from pyrogen.diagnostics.model_checks.outliers import OutlierScores, roc_auc
from pyrogen.diagnostics.model_checks.predictive_checks import PredictiveCheck, Statistic, predictive_check
from pyrogen.diagnostics.model_checks.simulation import simulated_data
from pyrogen.diagnostics.report.examination import Check, Examination
from pyrogen.diagnostics.report.thresholds import ALPHA, Assessment, Bounds
from pyrogen.diagnostics.samples.features import suited_features
from pyrogen.diagnostics.samples.sample_quality import SampleQuality, draw_samples, sample_quality
from pyrogen.inference import evaluation_context, log_likelihood
from pyrogen.story import observed_sites, unwrap_independent

AUC = Bounds(0.1)  # |area under the ROC curve - 1/2|
PREDICTIVE = Bounds(0.1)  # standard deviations of the data
OVERFITTED = Bounds(0.2)  # standard deviations of log p(x) over data
ACCURACY = Bounds(0.75)  # of a classifier of samples against data
COPIED = Bounds(0.6)  # probability that a sample is nearer to the training data than a new datum is

_MISFIT_REPLICATIONS, _FEWEST_ROWS, _MOST_COVARIATES = 400, 20, 10

_TRAINING_DRAWS, _LOO_DRAWS = 100, 1000
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
        assessment.find("misfit", bad, message, "look at its samples, and use a richer model")


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
    """Extrapolated from a few simulated data."""
    start = time.perf_counter()
    simulated_data(e.fitted, e.rows, _BATCH, seed=e.seed)
    return (time.perf_counter() - start) * e.rows.n / _BATCH * e.budget.replications


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
                assessment.find("misfit", bad, message, "use a richer model")


def _misfit(e: Examination) -> dict[str, list[Misfit]]:
    """Shape, trends, spread, order and groups of the residuals of each observed site."""
    kinds = {site: kind for site, kind in _kinds_of_data(e).items() if kind is not None}
    if not kinds:
        raise ValueError("no observed site holds real numbers, counts or binary values")
    values = predictive_check(
        e.fitted, e.rows, {site: _whole(site) for site in kinds}, _MISFIT_REPLICATIONS, under="posterior", seed=e.seed
    )
    covariates = _covariates(e, [values[site].observed for site in kinds])
    found = {}
    for site, kind in kinds.items():
        observed, replicated = values[site].observed, values[site].replicated
        alike = {name: column for name, column in covariates.items() if len(column) == len(observed)}
        if observed.ndim and len(observed) >= _FEWEST_ROWS:
            found[site] = misfits(observed, replicated, alike, kind)
    if not found:
        raise ValueError(f"there are fewer than {_FEWEST_ROWS} rows")
    return found


def _kinds_of_data(e: Examination) -> dict[str, Kind | None]:
    """`real`, `count` or `binary` for each observed site, None for others."""
    with evaluation_context(e.fitted, e.seed) as context:
        sites = observed_sites(poutine.trace(context.program.model).get_trace(e.rows).nodes.values())
    kinds: dict[str, Kind | None] = {}
    for name, site in sites.items():
        support = unwrap_independent(site["fn"]).support
        discrete = getattr(support, "is_discrete", False)
        binary = isinstance(support, type(constraints.boolean))
        numbers = isinstance(support, type(constraints.nonnegative_integer) | constraints.integer_interval)
        simplex = getattr(support, "event_dim", 0) > 0
        kinds[name] = "binary" if binary else "count" if numbers else None if discrete or simplex else "real"
    return kinds


def _covariates(e: Examination, observed: list[Array]) -> dict[str, Array]:
    """The columns that the model conditions on, one for each of their numbers."""
    found = {}
    for key, column in e.rows.columns.items():
        if not isinstance(column, Tensor) or column.dim() > 2 or column.is_complex():
            continue
        values = column.detach().cpu().double().numpy().reshape(len(column), -1)
        if any(values.size == y.size and np.allclose(values.ravel(), y.ravel(), equal_nan=True) for y in observed):
            continue
        if values.shape[1] <= _MOST_COVARIATES:
            one = values.shape[1] == 1
            found.update({str(key) if one else f"{key}[{j}]": values[:, j] for j in range(values.shape[1])})
    return found


def _whole(site: str) -> Statistic:
    return lambda values: values[site] if isinstance(values, dict) else values


def _judge_misfit(assessment: Assessment, e: Examination, found: Mapping[str, list[Misfit]]) -> None:
    for site, statistics in found.items():
        far, worst = critical_score(len(statistics)), max(statistics, key=lambda s: abs(s.score))
        about = f"largest distance of a statistic of {site} from its replications, in their standard deviations"
        assessment.judge(f"misfit_{site}", abs(worst.score), math.nan, Bounds(far), f"{about}: {worst.name}")
        for statistic in [s for s in statistics if abs(s.score) > far][:3]:
            remedy = "let the model have it, or read its intervals with care"
            assessment.find("misfit", "caution", f"{site}: {statistic.message}", remedy)


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
        assessment.find("overfitted", bad, message, "train on more data, stop earlier, or regularize")


def _leave_one_out(e: Examination) -> LeaveOneOut:
    return loo(e.fitted, e.rows, min(_LOO_DRAWS, e.budget.shared_draws), seed=e.seed)


def _judge_leave_one_out(assessment: Assessment, e: Examination, result: LeaveOneOut) -> None:
    about = "expected log predictive density by leave-one-out (elpd_loo), nats"
    assessment.report("elpd_loo", *result.elpd, about)
    share, count = float(result.unreliable.mean()), int(result.unreliable.sum())
    khat = f"a leave-one-out Pareto k-hat above {result.threshold:.2f}"
    assessment.report("loo_high_khat_share", share, math.nan, f"share of {e.noun} with {khat}")
    if share:
        message = f"{count} of {len(result.khat)} {e.noun} have {khat}: they influence the posterior strongly"
        remedy = "inspect them, and refit without each to estimate its predictive density"
        assessment.find("influential", None, message, remedy)


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
        assessment.find("misfit", bad, message, "look at the samples, train longer or use a larger model")
    if quality.memorization is None or quality.memorization_p_value is None:
        return
    about = "probability that a sample is nearer to the training data than a held-out datum is, 1/2 is expected"
    bad = assessment.judge("memorization", *quality.memorization, COPIED, about)
    if bad and quality.memorization_p_value < ALPHA:
        share = f"{quality.memorization.value:.0%}"
        message = f"the model memorizes: samples are nearer to training data than held-out data in {share} of pairs"
        assessment.find("memorized", bad, message, "train on more data, or stop earlier")


TYPICALITY = Check("typicality", "fit", ("local", "exact"), _typicality, _judge_typicality)
PREDICTIVE_CHECK = Check(
    "predictive_check",
    "fit",
    ("local", "exact", "shared"),
    _predictive_check,
    _judge_predictive_check,
    takes_points=True,
)
MISFIT = Check("misfit", "fit", ("shared",), _misfit, _judge_misfit)
OVERFITTING = Check("overfitting", "fit", ("local", "exact"), _overfitting, _judge_overfitting)
LEAVE_ONE_OUT = Check("leave_one_out", "fit", ("shared",), _leave_one_out, _judge_leave_one_out)
SAMPLE_QUALITY = Check("sample_quality", "fit", ("samples",), _sample_quality, _judge_sample_quality)
