"""The page of a diagnosis: one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyrogen.diagnostics import Diagnosis, Estimate, Metric
from pyrogen.diagnostics.report.diagnosis import PARTS, PURPOSES
from pyrogen.messages import printable

CAPTIONS = {
    "importance_weights": "Top: Pareto k-hat of each datum's importance weights; above the dashed line they are "
    "unreliable, because the guide misses part of the posterior. Bottom: the importance-weighted lower bound on "
    "log p(x); where it still rises at the right, log p(x) is larger than estimated.",
    "calibration": "Simulation-based calibration: the ranks of true latents among draws from the guide, for data "
    "simulated from the model. A curve above the band at the left and below it at the right: the guide is too narrow; "
    "the reverse: too wide; above or below throughout: shifted.",
    "shared_moments": "80% intervals of the latents under the guide, and after importance weighting. If they agree, "
    "and Pareto k-hat is below its threshold, the guide is right.",
    "inference_gaps": "The amortization gap is the ELBO gained by optimizing the guide for each datum; the "
    "approximation gap is what then remains to log p(x).",
    "elbo_decomposition": "KL(guide || prior) of each latent, averaged over data. Grey latents are inactive.",
    "typicality": "Log p(x) of the observed data and of data simulated from the model; the histograms agree if the "
    "model is right.",
    "predictive_check": "Predictive check: statistics of data sets replicated by the model, and of the observed data.",
    "sample_quality": "Samples, at the left, each beside its nearest training images.",
    "worst": "The data with the lowest log p(x), lowest first.",
    "training": "The ELBO during training.",
}
"""Of pictures by name: that of a check, or of the run."""

_QUESTIONS = {
    "guide": "Does the guide approximate the posterior?",
    "latents": "Which latents carry information about the data? An inactive latent is no fault of the guide.",
    "fit": "Does the model generate data like those observed?",
}
_COLOURS = {"believe": "good", "caution": "warn", "do not believe": "bad"}


def page(diagnosis: Diagnosis, pictures: Mapping[str, bytes], data: str) -> str:
    """A diagnosis as an HTML page: verdict, remedies, metrics by part, pictures, protocol.

    Args:
        diagnosis: what `pyrogen.diagnostics.diagnose` returned.
        pictures: PNG files by name, in their order; `CAPTIONS` has the captions.
        data: the examined data in words.

    Returns:
        HTML that loads no other file.
    """
    loader = PackageLoader("pyrogen.cli", ".")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_shown
    )
    environment.filters |= {
        "base64": lambda png: base64.b64encode(png).decode(),
        "capitalized": lambda text: text[:1].upper() + text[1:],
        "listed": _listed,
        "value": _value,
        "words": lambda name: name.replace("_", " "),
    }
    template = environment.get_template("report.html.j2")
    words: dict[str, Any] = {
        "parts": PARTS,
        "uses": PURPOSES,
        "questions": _QUESTIONS,
        "captions": CAPTIONS,
        "colours": _COLOURS,
    }
    return template.render(diagnosis=diagnosis, pictures=pictures, data=data, **words)


def _shown(value: Any) -> Any:
    """What an expression gives, without control characters; what is HTML already stays."""
    return printable(value) if type(value) is str else value


def _value(metric: Metric) -> str:
    """The value with its standard error, where there is one."""
    return f"{metric.value:.3g}" if metric.error != metric.error else str(Estimate(metric.value, metric.error))


def _listed(setting: Any) -> str:
    if isinstance(setting, Mapping):
        return ", ".join(f"{name} {item}" for name, item in setting.items())
    return ", ".join(map(str, setting)) if isinstance(setting, list) else str(setting)
