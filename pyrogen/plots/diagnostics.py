"""One picture for each check of a diagnosis; readable on a light and on a dark background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrogen.diagnostics import (
    Calibration,
    Decomposition,
    Diagnosis,
    Estimates,
    ImportanceWeights,
    InferenceGaps,
    Moments,
    OutlierScores,
    PredictiveCheck,
)
from pyrogen.inference import ActiveUnits
from pyrogen.plots.theme import BLUE, GREY, ORANGE, RED, plain_label, transparent_theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_LATENTS = 40
"""Latents shown in one picture, at most."""


def diagnostic_figures(diagnosis: Diagnosis) -> dict[str, Figure]:
    """A picture of each check that was run and has one.

    Args:
        diagnosis: what `pyrogen.diagnostics.diagnose` returned.

    Returns:
        Matplotlib figures by name of the check, in the order of `DIAGNOSTIC_PLOTS`: `importance_weights` (Pareto k-hat
        of each datum; importance-weighted bound against the number of draws), `calibration` (ECDF of ranks with their
        band), `shared_moments` (guide and importance-weighted posterior), `inference_gaps` (amortization and
        approximation gap), `elbo_decomposition` (KL of each latent), `typicality` (log p(x) of observed and simulated
        data), `predictive_check` (statistics of replicated data). `figure.savefig(path)` writes one; pyplot and its
        backend are left alone.

    Example:
        >>> import torch
        >>> from pyrogen.diagnostics import diagnose
        >>> from pyrogen.models import PPCA
        >>> story = PPCA(4, latent=2).maximum_likelihood(torch.randn(200, 4))
        >>> sorted(diagnostic_figures(diagnose(story, story.sample(100), budget="quick")))[:3]
        ['calibration', 'elbo_decomposition', 'importance_weights']
    """
    with transparent_theme():
        return {name: plot(diagnosis.results) for name, plot in DIAGNOSTIC_PLOTS.items() if name in diagnosis.results}


def _figure(width: float = 6.4, height: float = 3.6, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns)))
    for panel in axes:
        panel.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _importance_weights(results: Mapping[str, Any]) -> Figure:
    figure, (khat, bound) = _figure(height=6.8, rows=2)
    _khat(khat, results["importance_weights"])
    _bound(bound, results["importance_weights"], results.get("exact_log_likelihood"))
    return figure


def _khat(axes: Axes, weights: ImportanceWeights) -> None:
    shown = np.sort(np.nan_to_num(weights.khat, nan=0.0, posinf=2.0, neginf=-0.5).clip(-0.5, 2))
    place = np.arange(len(shown)) / max(1, len(shown) - 1) * 100
    bad = shown > weights.threshold
    axes.scatter(place[~bad], shown[~bad], s=7, color=BLUE)
    axes.scatter(place[bad], shown[bad], s=7, color=RED)
    axes.axhline(weights.threshold, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(f"{weights.threshold:.2f}", (0, weights.threshold), xytext=(2, 4), textcoords="offset points")
    axes.set(xlabel="data, sorted by k-hat (%)", ylabel="Pareto k-hat", ylim=(-0.55, 2.05))


def _bound(axes: Axes, weights: ImportanceWeights, exact: Estimates | None) -> None:
    ks = np.unique(np.geomspace(1, weights.num_samples, 10).astype(int))
    bounds = [weights.bound(int(k)).mean() for k in ks]
    value, error = np.array([b.value for b in bounds]), np.nan_to_num([b.error for b in bounds])
    label = "importance-weighted bound"
    axes.errorbar(ks, value, 2 * error, color=BLUE, marker="o", markersize=4, capsize=2, label=label)
    if exact is not None:
        axes.axhline(exact.mean().value, color=ORANGE, linewidth=1.2, label="exact log p(x)")
    axes.ticklabel_format(axis="y", useOffset=False)
    low, high = axes.get_ylim()
    if high - low < 0.02:  # do not magnify rounding errors
        axes.set_ylim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)
    axes.set(xscale="log", xlabel="number of draws k (k = 1: ELBO)", ylabel="nats per datum")
    axes.legend(frameon=False, loc="lower right")


def _calibration(results: Mapping[str, Any]) -> Figure:
    calibration: Calibration = results["calibration"]
    figure, (axes,) = _figure()
    latents = sum(ranks[0].size for ranks in calibration.ranks.values())
    cuts, low, high = calibration.band(1 - 0.05 / latents)
    axes.fill_between(cuts, low - cuts, high - cuts, color=GREY, alpha=0.3, linewidth=0, label="95% band if calibrated")
    cells = calibration.draws + 1
    columns = np.concatenate([r.reshape(len(r), -1) for r in calibration.ranks.values()], 1)
    difference = np.stack([(columns < round(cut * cells)).mean(0) for cut in cuts]) - cuts[:, None]
    for latent in np.abs(difference).max(0).argsort()[-_LATENTS:]:
        outside = ((difference[:, latent] + cuts < low) | (difference[:, latent] + cuts > high)).any()
        axes.plot(cuts, difference[:, latent], color=RED if outside else BLUE, alpha=0.6, linewidth=1)
    axes.set(xlabel="rank of the true latent among draws, scaled to [0, 1]", ylabel="ECDF of ranks - uniform CDF")
    axes.legend(frameon=False)
    return figure


def _shared_moments(results: Mapping[str, Any]) -> Figure:
    moments: Moments = results["shared_moments"]
    error = np.maximum(np.abs(moments.shift.value), np.abs(np.log1p(moments.width.value)))
    shown = np.sort(error.argsort()[-_LATENTS:])
    figure, (axes,) = _figure(height=1.2 + 0.28 * len(shown))
    mean, sd = moments.guide.mean(0)[shown], moments.guide.std(0)[shown]
    corrected, width = (values[shown] for values in moments.corrected)
    rows = np.arange(len(shown))[::-1]
    # In standard deviations of the guide around its mean, for latents have different units.
    axes.errorbar(0 * mean, rows + 0.13, xerr=1.28, fmt="o", color=BLUE, markersize=4, label="guide")
    at, spread = (corrected - mean) / sd, 1.28 * width / sd
    axes.errorbar(at, rows - 0.13, xerr=spread, fmt="o", color=ORANGE, markersize=4, label="importance-weighted")
    axes.set_yticks(rows, [plain_label(moments.names[i]) for i in shown])
    axes.set(xlabel="80% interval, in standard deviations of the guide", ylim=(-0.7, len(shown) + 0.5))
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return figure


def _inference_gaps(results: Mapping[str, Any]) -> Figure:
    gaps: InferenceGaps = results["inference_gaps"]
    figure, (axes,) = _figure(height=2.4)
    bars = (("amortization gap", gaps.amortization, BLUE), ("approximation gap", gaps.approximation, ORANGE))
    for row, (name, gap, colour) in enumerate(bars):
        low, middle, high = np.quantile(gap.value, [0.1, 0.5, 0.9])
        mean = gap.mean()
        axes.barh(row, mean.value, xerr=2 * mean.error, color=colour, alpha=0.8, height=0.5)
        axes.plot([low, high], [row, row], color=GREY, linewidth=1.2)
        axes.plot(middle, row, "|", color=GREY, markersize=10)
        axes.annotate(name, (0, row + 0.33), ha="left")
    axes.set(yticks=[], ylim=(-0.5, 1.7), xlabel="nats per datum: mean (bar), median (tick), 10% to 90% of data (line)")
    return figure


def _elbo_decomposition(results: Mapping[str, Any]) -> Figure:
    parts: Decomposition = results["elbo_decomposition"]
    units: ActiveUnits | None = results.get("active_units")
    figure, (axes,) = _figure()
    by_unit = {name: kl.value.mean(0).ravel() for name, kl in parts.kl_by_dimension.items()}
    by_unit |= {name: np.atleast_1d(kl.value.mean()) for name, kl in parts.kl.items() if name not in by_unit}
    start, ticks = 0, {}
    for name, kl in by_unit.items():
        known = units is not None and name in units.variance
        active = units.variance[name].ravel().numpy() > units.threshold if units is not None and known else kl > 0
        order = kl.argsort()[::-1]
        colours = np.where(active[order] if active.size == kl.size else kl > 0, BLUE, GREY)
        axes.bar(start + np.arange(len(kl)), kl[order], color=colours, width=0.85)
        ticks[name] = start + (len(kl) - 1) / 2
        start += len(kl) + 1
    axes.set_xticks(list(ticks.values()), [plain_label(name) for name in ticks])
    axes.set(xlabel="latents, sorted by KL; grey: inactive", ylabel="KL, nats per datum")
    return figure


def _typicality(results: Mapping[str, Any]) -> Figure:
    scores: OutlierScores = results["typicality"]
    figure, (axes,) = _figure()
    both = np.concatenate([scores.log_likelihood, scores.reference])
    low, high = np.quantile(both, [0.002, 0.998])
    bins = np.linspace(low, high, 40).tolist()
    for values, colour, label in (
        (scores.reference, GREY, "simulated data"),
        (scores.log_likelihood, BLUE, "observed data"),
    ):
        axes.hist(values.clip(bins[0], bins[-1]), bins, color=colour, alpha=0.55, density=True, label=label)
    axes.set(xlabel="log p(x), nats", yticks=[])
    axes.legend(frameon=False, loc="upper left")
    return figure


def _predictive_check(results: Mapping[str, Any]) -> Figure:
    checks: Mapping[str, PredictiveCheck] = results["predictive_check"]
    figure, axes = _figure(3.4 * len(checks), 2.8, columns=len(checks))
    for panel, (name, check) in zip(axes, checks.items(), strict=True):
        panel.hist(check.replicated, 25, color=GREY, alpha=0.6)
        panel.axvline(float(check.observed), color=BLUE, linewidth=2)
        panel.set(xlabel=plain_label(name), yticks=[])
        panel.locator_params(axis="x", nbins=4)
    axes[0].set_title("replicated (grey), observed (line)", loc="left", fontsize=9)
    return figure


DIAGNOSTIC_PLOTS: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "importance_weights": _importance_weights,
    "calibration": _calibration,
    "shared_moments": _shared_moments,
    "inference_gaps": _inference_gaps,
    "elbo_decomposition": _elbo_decomposition,
    "typicality": _typicality,
    "predictive_check": _predictive_check,
}
"""The picture of a check, from the results of a diagnosis, by name of the check."""
