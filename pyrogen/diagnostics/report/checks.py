"""The tests of an examination, by name: for which kinds of story each is, and how it is made within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimates
from pyrogen.diagnostics.core.posterior_draws import some_rows
from pyrogen.diagnostics.elbo.convergence import elbo_trend
from pyrogen.diagnostics.elbo.decomposition import decompose
from pyrogen.diagnostics.elbo.elbo_surgery import elbo_surgery
from pyrogen.diagnostics.guide.calibration import check_calibration
from pyrogen.diagnostics.guide.corrected_moments import shared_moments
from pyrogen.diagnostics.guide.importance import importance_weights
from pyrogen.diagnostics.guide.inference_gaps import inference_gaps
from pyrogen.diagnostics.model_checks.leave_one_out import loo
from pyrogen.diagnostics.model_checks.outliers import OutlierScores
from pyrogen.diagnostics.model_checks.predictive_checks import Statistic, predictive_check
from pyrogen.diagnostics.model_checks.simulation import prior_elbo, simulated_data
from pyrogen.diagnostics.samples.features import suited_features
from pyrogen.diagnostics.samples.sample_quality import draw_samples, sample_quality
from pyrogen.inference import Fit, active_units, evaluation_context, log_likelihood

if TYPE_CHECKING:
    from pyrogen.diagnostics.report.examination import Examination

__all__ = ["TESTS"]

Found = dict[str, Any]

_PARTS, _PRIOR, _TRAINING = 50, 100, 100
"""Draws for each datum, of parts of the ELBO, of the prior's, and of that of training data."""
_STEPS, _PARTICLES = 200, 8
_SURGERY = 500
_LOO = 1000
_WINDOW, _RECORDS = 0.05, 40
"""The end of the history that is looked at, and the records that it has at least."""
_SAMPLES = 50
"""Samples that are drawn before the clock is looked at."""


def _weights(e: Examination) -> Found:
    return {"weights": importance_weights(e.fitted, e.rows, e.budget.draws, seed=e.seed)}


def _exact(e: Examination) -> Found:
    if not hasattr(e.story, "log_prob"):
        raise ValueError(f"{e.story.name} has no exact log p(x)")
    value = log_likelihood(e.fitted, e.rows, 0, exact=True).value.double().numpy()
    return {"exact": Estimates(value, 0 * value)}


def _log_likelihood(e: Examination) -> Found:
    """Of a story without latents to draw."""
    found = log_likelihood(e.fitted, e.rows, 1, seed=e.seed).value.double().numpy()
    return {"exact": Estimates(found, 0 * found)}


def _prior(e: Examination) -> Found:
    return {"prior": prior_elbo(e.fitted, e.rows, _PRIOR, seed=e.seed)}


def _calibration(e: Examination) -> Found:
    sizes = {"simulations": e.budget.simulations, "draws": e.budget.ranked}
    return {"calibration": check_calibration(e.fitted, e.rows, **sizes, seed=e.seed)}


def _gaps(e: Examination) -> Found:
    _refuse_fixed(e)
    if not e.budget.refined:
        raise ValueError("no posterior is refined within this budget")
    sizes = {"rows": e.budget.refined, "num_samples": e.budget.draws}
    return {"gaps": inference_gaps(e.fitted, e.rows, **sizes, steps=_STEPS, particles=_PARTICLES, seed=e.seed)}


def _parts(e: Examination) -> Found:
    return {"parts": decompose(e.fitted, e.rows, _PARTS, seed=e.seed)}


def _units(e: Examination) -> Found:
    return {"units": active_units(e.fitted, e.rows, seed=e.seed)}


def _surgery(e: Examination) -> Found:
    return {"surgery": elbo_surgery(e.fitted, e.rows, rows=_SURGERY, seed=e.seed)}


def _moments(e: Examination) -> Found:
    return {"moments": shared_moments(e.fitted, e.rows, e.budget.shared_draws, seed=e.seed), "mixed": e.mixed}


def _trend(e: Examination) -> Found:
    if not isinstance(e.fitted, Fit):
        raise ValueError("there is no history: pass the Fit")
    history = e.fitted.history
    name = "validation_elbo" if history and history[-1].get("validation_elbo") is not None else "train_elbo"
    window = min(0.5, max(_WINDOW, _RECORDS / max(1, len(history))))
    return {"trend": elbo_trend(history, name, window=window), "total": e.rows.total}


def _typicality(e: Examination) -> Found:
    """Log p(x) of the data among that of as many that the model makes."""
    _refuse_fixed(e)
    made = simulated_data(e.fitted, e.rows, e.rows.n, seconds=e.budget.seconds, seed=e.seed)
    if "exact" in e.results:
        mine, reference = e.results["exact"].value, log_likelihood(e.fitted, made, 1, seed=e.seed).value
    else:
        mine = e.results["weights"].log_likelihood.value if "weights" in e.results else None
        reference = log_likelihood(e.fitted, made, e.budget.draws, seed=e.seed).value
    if mine is None:
        raise ValueError(f"{e.story.name}: no datum has a likelihood of its own")
    return {"typicality": OutlierScores(mine, reference.double().numpy())}


def _predictive(e: Examination) -> Found:
    """Mean and standard deviation of each observed site."""
    if e.kind != "shared" and not e.fixed and (needed := _seconds_of_replication(e)) > e.budget.seconds:
        raise ValueError(f"{e.budget.replications} replications of {e.rows.n} data would take {needed:.0f} s")
    statistics: dict[str, Statistic] = {}
    for site in e.observed:
        statistics[f"mean of {site}"] = _of(site, torch.mean)
        statistics[f"standard deviation of {site}"] = _of(site, torch.std)
    under: Any = "posterior" if e.kind == "shared" else "prior"
    return {
        "predictive": predictive_check(e.fitted, e.rows, statistics, e.budget.replications, under=under, seed=e.seed)
    }


def _refuse_fixed(e: Examination) -> None:
    if e.fixed:
        raise ValueError(f"{e.story.name}: its guide knows the training data's rows alone")


def _seconds_of_replication(e: Examination) -> float:
    """Told by a few data of the model's own."""
    start = time.perf_counter()
    simulated_data(e.fitted, e.rows, _SAMPLES, seed=e.seed)
    return (time.perf_counter() - start) * e.rows.n / _SAMPLES * e.budget.replications


def _of(site: str, statistic: Callable[[Any], Any]) -> Statistic:
    return lambda values: statistic((values[site] if isinstance(values, dict) else values).double())


def _training(e: Examination) -> Found:
    """The bound of training data beside that of the data."""
    if e.training is None or e.of_training:
        raise ValueError("no training data were given besides the data")
    with evaluation_context(e.fitted, e.seed) as context:
        rows = some_rows(context.batch(e.training), e.rows.n)
    found = log_likelihood(e.fitted, rows, _TRAINING, seed=e.seed)
    if "weights" not in e.results:
        return {"training": (found.value.double().numpy(), e.results["exact"].value), "bound": "log p"}
    return {"training": (found.elbo.double().numpy(), e.results["weights"].elbo.value), "bound": "ELBO"}


def _loo(e: Examination) -> Found:
    return {"loo": loo(e.fitted, e.rows, min(_LOO, e.budget.shared_draws), seed=e.seed)}


def _quality(e: Examination) -> Found:
    samples: list[Tensor] = []
    start = time.perf_counter()
    while len(samples) * _SAMPLES < e.budget.samples:
        if samples and time.perf_counter() - start > e.budget.seconds:
            break
        samples.append(draw_samples(e.fitted, e.data, _SAMPLES, seed=e.seed + len(samples)))
    drawn = torch.cat(samples)
    features = None if e.training is None else suited_features(e.training)
    return {
        "samples": drawn,
        "quality": sample_quality(drawn, e.data, features=features, seed=e.seed, training=e.training),
    }


TESTS: dict[str, tuple[tuple[str, ...], Callable[[Examination], Found]]] = {
    "weights": (("local",), _weights),
    "exact log-likelihood": (("local",), _exact),
    "log-likelihood": (("exact",), _log_likelihood),
    "prior as guide": (("local",), _prior),
    "calibration": (("local",), _calibration),
    "inference gaps": (("local",), _gaps),
    "weights of shared latents": (("shared",), _moments),
    "training history": (("local", "shared", "exact", "point"), _trend),
    "active units": (("local",), _units),
    "parts of the ELBO": (("local", "point"), _parts),
    "ELBO surgery": (("local",), _surgery),
    "typicality": (("local", "exact"), _typicality),
    "predictive check": (("local", "exact", "shared", "point"), _predictive),
    "overfitting": (("local", "exact"), _training),
    "leave-one-out": (("shared",), _loo),
    "sample quality": (("samples",), _quality),
}
"""By name: the kinds of story that take the test, with `point` if a guide that is a point takes it; and the test."""
