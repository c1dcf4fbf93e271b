"""The checks of the guide alone, where many guides are judged."""

from __future__ import annotations

from typing import Any

from pyrogen.diagnostics.report.checks import CHECKS
from pyrogen.diagnostics.report.examination import Budget, Examination
from pyrogen.diagnostics.report.thresholds import Assessment

_SEVERITY = ["believe", "caution", "do not believe"].index


def judged_guide(fitted: Any, data: Any, budget: Budget, seed: int) -> Assessment:
    """What `diagnose` finds about a guide, without the checks of the model."""
    examination, assessment = Examination(fitted, data, None, budget, seed), Assessment("guide")
    for check in CHECKS:
        if check.part == "guide" and check.applies_to(examination):
            try:
                examination.results[check.name] = check.run(examination)
            except (ValueError, RuntimeError):
                continue
            if check.judge is not None:
                check.judge(assessment, examination, examination.results[check.name])
    return assessment


def guide_verdict(assessment: Assessment) -> str:
    """The worst verdict of all metrics and findings."""
    verdicts = [item.verdict for item in (*assessment.metrics.values(), *assessment.findings) if item.verdict]
    return max(verdicts, key=_SEVERITY, default="believe")
