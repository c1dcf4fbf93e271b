"""The page of a diagnosis: one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyrogen.diagnostics import Diagnosis, Estimate, Metric
from pyrogen.diagnostics.report.findings import PARTS, PURPOSES
from pyrogen.messages import printable

CAPTIONS = {
    "samples": "New data drawn from the model.",
    "data": "Observed data, to compare the samples with.",
    "reconstructions": "Observed data (upper half), and what the model makes of their codes (lower half, same order).",
    "sample_quality": "Samples, at the left, each beside the training images that are nearest to it; a sample that "
    "equals its neighbour was memorized.",
    "worst": "The observed data with the lowest log p(x), lowest first: outliers, or what the model has not learned.",
    "importance_weights": "Top: Pareto k-hat, which tells how heavy the tail of a datum's importance weights is. Above "
    "the dashed line the weights are unreliable, because the guide (the approximate posterior) misses part of the "
    "posterior. Bottom: the estimate of log p(x) by more and more draws from the guide; if it still rises at the "
    "right, log p(x) is larger than estimated.",
    "calibration": "Latents and data were simulated from the model, and each true latent was ranked among draws from "
    "the guide, given the data. A curve within the band: calibrated. Above it at the left and below it at the right: "
    "the guide is too narrow; the reverse: too wide; above or below throughout: shifted.",
    "shared_moments": "80% intervals of each latent under the guide, and after its draws are corrected by importance "
    "weights. The guide is right if they agree, and if Pareto k-hat is below its threshold.",
    "inference_gaps": "How far the guide is from the posterior. Amortization gap: what optimizing the guide for each "
    "datum gains, as a better encoder would. Approximation gap: what then remains, as it is gained by another family "
    "of guides.",
    "elbo_decomposition": "How much each latent says about a datum: the KL divergence of its posterior from its prior, "
    "averaged over data. Grey latents say nothing.",
    "typicality": "Log p(x) of observed data and of data simulated from the model. They agree if the model is right.",
    "predictive_check": "Statistics of data sets that the model replicates (histogram), and of the observed data "
    "(line). The line lies within the histogram if the model is right.",
    "training": "The ELBO, the lower bound on log p(x) that training maximizes. It is flat when training is finished.",
}
"""Of pictures by name: that of a check, or of the run."""

FIRST = ("samples", "data", "reconstructions")
"""Pictures at the top of the page."""

_QUESTIONS = {
    "guide": "Does the guide (the approximate posterior that was trained) agree with the posterior of the model?",
    "latents": "Which latents say something about the data? One that says nothing is no fault of the guide.",
    "fit": "Are data from the model like those observed?",
}
_COLOURS = {"believe": "good", "caution": "warn", "do not believe": "bad"}


def page(diagnosis: Diagnosis, pictures: Mapping[str, bytes], data: str, preparation: Sequence[str] = ()) -> str:
    """A diagnosis as an HTML page: headlines, samples, findings with remedies, metrics by part, pictures, protocol.

    Args:
        diagnosis: what `pyrogen.diagnostics.diagnose` returned.
        pictures: PNG files by name, in their order; `CAPTIONS` has the captions.
        data: the examined data in words.
        preparation: lines of Python that the remedies in Python go on from; none by default.

    Returns:
        HTML that loads no other file.
    """
    loader = PackageLoader("pyrogen.cli.report", ".")
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
        "first": FIRST,
        "preparation": list(preparation),
        "python": bool(preparation) and any(not r.line for f in diagnosis.findings for r in f.remedies),
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
