"""From what tests found to figures with verdicts, and findings in the order of their weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyrogen.diagnostics.report import fit_checks as fit
from pyrogen.diagnostics.report import guide_checks as guide
from pyrogen.diagnostics.report.diagnosis import Finding, Metric
from pyrogen.diagnostics.report.thresholds import Ruling

__all__ = ["ruled"]

_JUDGES: dict[str, Callable[[Ruling, Mapping[str, Any], str], None]] = {
    "weights": guide.judge_weights,
    "calibration": guide.judge_calibration,
    "gaps": guide.judge_gaps,
    "moments": guide.judge_moments,
    "trend": guide.judge_trend,
    "units": fit.judge_units,
    "surgery": fit.judge_surgery,
    "parts": fit.judge_kl,
    "typicality": fit.judge_typicality,
    "predictive": fit.judge_predictive,
    "training": fit.judge_fit_of_training,
    "loo": fit.judge_loo,
    "quality": fit.judge_quality,
}
"""By the name of a test's result."""

_GRAVITY = ("do not believe", "caution", None)
# What explains other findings comes before them.
_KINDS = ("untested", "untrained", "correlations", "shifted", "narrow", "wide")


def ruled(results: Mapping[str, Any], noun: str) -> tuple[dict[str, Metric], list[Finding]]:
    """Judge the results of all tests.

    Args:
        results: by name of the test.
        noun: what a datum is called in the plural.
    """
    ruling = Ruling()
    for name, judge in _JUDGES.items():
        if name in results:
            judge(ruling, results, noun)
    return ruling.figures, in_order(ruling.findings)


def in_order(findings: list[Finding]) -> list[Finding]:
    """The gravest first, remarks last."""
    kinds = {kind: place for place, kind in enumerate(_KINDS)}
    return sorted(findings, key=lambda f: (_GRAVITY.index(f.verdict), kinds.get(f.kind, len(kinds))))
