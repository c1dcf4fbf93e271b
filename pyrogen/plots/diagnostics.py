"""Pictures of an examination, one for each question; readable on light and on dark ground."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrogen.diagnostics import Calibration, Diagnosis, ImportanceWeights, Moments, OutlierScores, PredictiveCheck
from pyrogen.plots.theme import BLUE, GREY, ORANGE, RED, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["diagnostic_figures"]

_LATENTS = 40
"""Shown in one picture, at most."""


def diagnostic_figures(diagnosis: Diagnosis) -> dict[str, Figure]:
    """The pictures that the results of an examination allow.

    Args:
        diagnosis: what `pyrogen.diagnostics.diagnose` gave.

    Returns:
        By name, in the order of reading: `khat` (k-hat by datum), `bounds` (weighted bound against the number of
        draws), `calibration` (ranks' distribution functions with their band), `moments` (guide and corrected posterior
        of shared latents), `gaps` (encoder and family), `latents` (KL of each), `typicality` (log p of the data and of
        the model's own), `predictive` (statistics of replicated data). `figure.savefig(path)` writes one; pyplot and
        its backend are left alone.

    Example:
        >>> import torch
        >>> from pyrogen.diagnostics import diagnose
        >>> from pyrogen.models import PPCA
        >>> story = PPCA(4, latent=2).maximum_likelihood(torch.randn(200, 4))
        >>> sorted(diagnostic_figures(diagnose(story, story.sample(100), budget="quick")))[:3]
        ['bounds', 'calibration', 'khat']
    """
    results, found = diagnosis.results, {}
    for name, (needed, draw) in _PICTURES.items():
        if needed in results:
            with ink():
                found[name] = draw(results)
    return found


def _figure(panels: int = 1, width: float = 6.4, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, panels)))
    for panel in axes:
        panel.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _khat(results: Mapping[str, Any]) -> Figure:
    weights: ImportanceWeights = results["weights"]
    figure, (axes,) = _figure()
    shown = np.sort(np.nan_to_num(weights.khat, nan=0.0, posinf=2.0, neginf=-0.5).clip(-0.5, 2))
    place = np.arange(len(shown)) / max(1, len(shown) - 1) * 100
    bad = shown > weights.threshold
    axes.scatter(place[~bad], shown[~bad], s=7, color=BLUE)
    axes.scatter(place[bad], shown[bad], s=7, color=RED)
    axes.axhline(weights.threshold, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(f"{weights.threshold:.2f}", (0, weights.threshold), xytext=(2, 4), textcoords="offset points")
    axes.set(xlabel="data, from the best to the worst (%)", ylabel="Pareto k-hat", ylim=(-0.55, 2.05))
    return figure


def _bounds(results: Mapping[str, Any]) -> Figure:
    weights: ImportanceWeights = results["weights"]
    figure, (axes,) = _figure()
    ks = np.unique(np.geomspace(1, weights.num_samples, 10).astype(int))
    bounds = [weights.bound(int(k)).mean() for k in ks]
    value, error = np.array([b.value for b in bounds]), np.nan_to_num([b.error for b in bounds])
    axes.errorbar(ks, value, 2 * error, color=BLUE, marker="o", markersize=4, capsize=2, label="weighted bound")
    if "exact" in results:
        axes.axhline(results["exact"].mean().value, color=ORANGE, linewidth=1.2, label="exact log p(x)")
    axes.ticklabel_format(axis="y", useOffset=False)
    low, high = axes.get_ylim()
    if high - low < 0.02:  # rounding, enlarged, is no news
        axes.set_ylim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)
    axes.set(xscale="log", xlabel="draws k (at 1: the ELBO)", ylabel="nats per datum")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _calibration(results: Mapping[str, Any]) -> Figure:
    found: Calibration = results["calibration"]
    figure, (axes,) = _figure()
    latents = sum(ranks[0].size for ranks in found.ranks.values())
    cuts, low, high = found.band(1 - 0.05 / latents)
    axes.fill_between(cuts, low - cuts, high - cuts, color=GREY, alpha=0.3, linewidth=0, label="if calibrated (95 %)")
    cells = found.draws + 1
    columns = np.concatenate([r.reshape(len(r), -1) for r in found.ranks.values()], 1)
    below = np.stack([(columns < round(cut * cells)).mean(0) for cut in cuts]) - cuts[:, None]
    worst = np.abs(below).max(0).argsort()[-_LATENTS:]
    for latent in worst:
        bad = ((below[:, latent] + cuts < low) | (below[:, latent] + cuts > high)).any()
        axes.plot(cuts, below[:, latent], color=RED if bad else BLUE, alpha=0.6, linewidth=1)
    axes.set(xlabel="rank of the true latent among draws", ylabel="share of data below, less expected")
    axes.legend(frameon=False)
    return figure


def _moments(results: Mapping[str, Any]) -> Figure:
    found: Moments = results["moments"]
    off = np.maximum(np.abs(found.shift.value), np.abs(np.log1p(found.width.value)))
    shown = np.sort(off.argsort()[-_LATENTS:])
    figure, (axes,) = _figure(height=1.2 + 0.28 * len(shown))
    mean, sd = found.guide.mean(0)[shown], found.guide.std(0)[shown]
    corrected, width = (values[shown] for values in found.corrected)
    rows = np.arange(len(shown))[::-1]
    # In standard deviations of the guide around its mean, for latents have different units.
    axes.errorbar(0 * mean, rows + 0.13, xerr=1.28, fmt="o", color=BLUE, markersize=4, label="guide")
    at, spread = (corrected - mean) / sd, 1.28 * width / sd
    axes.errorbar(at, rows - 0.13, xerr=spread, fmt="o", color=ORANGE, markersize=4, label="weighted")
    axes.set_yticks(rows, [found.names[i] for i in shown])
    axes.set(xlabel="80 % intervals, in standard deviations of the guide", ylim=(-0.7, len(shown) + 0.5))
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return figure


def _gaps(results: Mapping[str, Any]) -> Figure:
    found = results["gaps"]
    figure, (axes,) = _figure(height=2.4)
    for row, (name, gap, colour) in enumerate(
        (("encoder", found.amortization, BLUE), ("family", found.approximation, ORANGE))
    ):
        low, middle, high = np.quantile(gap.value, [0.1, 0.5, 0.9])
        mean = gap.mean()
        axes.barh(row, mean.value, xerr=2 * mean.error, color=colour, alpha=0.8, height=0.5)
        axes.plot([low, high], [row, row], color=GREY, linewidth=1.2)
        axes.plot(middle, row, "|", color=GREY, markersize=10)
        axes.annotate(name, (0, row + 0.33), ha="left")
    axes.set(yticks=[], ylim=(-0.5, 1.7), xlabel="nats per datum: mean (bar), median, 10 to 90 % of data (line)")
    return figure


def _latents(results: Mapping[str, Any]) -> Figure:
    parts = results["parts"]
    figure, (axes,) = _figure()
    by_unit = {name: kl.value.mean(0).ravel() for name, kl in parts.kl_by_dimension.items()}
    by_unit |= {name: np.atleast_1d(kl.value.mean()) for name, kl in parts.kl.items() if name not in by_unit}
    units = results["units"].variance if "units" in results else {}
    start, ticks = 0, {}
    for name, kl in by_unit.items():
        used = (units[name].ravel().numpy() > results["units"].threshold) if name in units else kl > 0
        order = kl.argsort()[::-1]
        colours = np.where(used[order] if used.size == kl.size else kl > 0, BLUE, GREY)
        axes.bar(start + np.arange(len(kl)), kl[order], color=colours, width=0.85)
        ticks[name] = start + (len(kl) - 1) / 2
        start += len(kl) + 1
    axes.set_xticks(list(ticks.values()), list(ticks))
    axes.set(xlabel="latents by their KL; grey: not used", ylabel="KL, nats per datum")
    return figure


def _typicality(results: Mapping[str, Any]) -> Figure:
    scores: OutlierScores = results["typicality"]
    figure, (axes,) = _figure()
    both = np.concatenate([scores.log_likelihood, scores.reference])
    low, high = np.quantile(both, [0.002, 0.998])
    bins = np.linspace(low, high, 40).tolist()
    for values, colour, label in (
        (scores.reference, GREY, "the model's own data"),
        (scores.log_likelihood, BLUE, "data"),
    ):
        axes.hist(values.clip(bins[0], bins[-1]), bins, color=colour, alpha=0.55, density=True, label=label)
    axes.set(xlabel="log p(x), nats", yticks=[])
    axes.legend(frameon=False, loc="upper left")
    return figure


def _predictive(results: Mapping[str, Any]) -> Figure:
    checks: Mapping[str, PredictiveCheck] = results["predictive"]
    figure, axes = _figure(len(checks), width=3.4 * len(checks), height=2.8)
    for panel, (name, check) in zip(axes, checks.items(), strict=True):
        panel.hist(check.replicated, 25, color=GREY, alpha=0.6)
        panel.axvline(float(check.observed), color=BLUE, linewidth=2)
        panel.set(xlabel=name, yticks=[])
        panel.locator_params(axis="x", nbins=4)
    axes[0].set_title("replicated (grey), observed (line)", loc="left", fontsize=9)
    return figure


_PICTURES: dict[str, tuple[str, Callable[[Mapping[str, Any]], Figure]]] = {
    "khat": ("weights", _khat),
    "bounds": ("weights", _bounds),
    "calibration": ("calibration", _calibration),
    "moments": ("moments", _moments),
    "gaps": ("gaps", _gaps),
    "latents": ("parts", _latents),
    "typicality": ("typicality", _typicality),
    "predictive": ("predictive", _predictive),
}
"""By name: the result that is shown, and how."""
