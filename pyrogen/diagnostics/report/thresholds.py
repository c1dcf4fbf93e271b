"""What figures are held against: a tolerance, and how far chance may carry a figure beyond it.

A figure passes where it is within its tolerance, or outside by no more than chance explains. So an exact guide is
called wrong in less than one examination in a hundred, however many figures and latents there are; and a guide that is
a little off is not called wrong because there are many data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.report.diagnosis import Finding, Metric, Part, Verdict

__all__ = ["ALPHA", "Bounds", "Ruling", "critical", "worst"]

FALSE_ALARM = 0.01
"""Of one examination."""

_JUDGED = 12
"""Figures of an examination that chance can carry away, at most; they share the false alarms."""

ALPHA = FALSE_ALARM / _JUDGED
"""False alarms of one figure."""


def critical(comparisons: int = 1) -> float:
    """Standard errors, to either side, that the largest of so many estimates is within but for ALPHA of the cases."""
    return NormalDist().inv_cdf(1 - ALPHA / (2 * max(1, comparisons)))


@dataclass(frozen=True)
class Bounds:
    """From where on a figure is a reason for caution, and from where on one not to believe.

    Args:
        caution: the tolerance.
        severe: beyond it lies what weights cannot mend.
        above: the figure is bad above the bounds, else below.
    """

    caution: float
    severe: float = math.inf
    above: bool = True

    def judge(self, value: float, error: float, comparisons: int = 1) -> Verdict:
        """The verdict on an estimate, the worst of so many that were looked at."""
        slack = critical(comparisons) * error if math.isfinite(error) else 0.0
        beyond = (lambda bound: value - slack > bound) if self.above else (lambda bound: value + slack < bound)
        return "do not believe" if beyond(self.severe) else "caution" if beyond(self.caution) else "believe"


@dataclass
class Ruling:
    """Figures and findings as they come."""

    figures: dict[str, Metric] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def report(self, name: str, value: float, error: float, part: Part, about: str) -> None:
        """A figure for information."""
        self.figures[name] = Metric(float(value), float(error), None, None, part, about)

    def judge(
        self,
        name: str,
        value: float,
        error: float,
        bounds: Bounds,
        part: Part,
        about: str,
        comparisons: int = 1,
    ) -> Verdict | None:
        """A figure with its verdict, which is given back where it is bad."""
        verdict = bounds.judge(float(value), float(error), comparisons)
        self.figures[name] = Metric(float(value), float(error), bounds.caution, verdict, part, about)
        return None if verdict == "believe" else verdict

    def find(self, kind: str, part: Part, verdict: Verdict | None, message: str, remedy: str) -> None:
        """Something is wrong, or worth a remark."""
        self.findings.append(Finding(kind, part, verdict, message, remedy))


def worst(estimates: Estimates, value: Array | None = None) -> tuple[int, float, float]:
    """Place, value and error of the estimate that is furthest out; `value` where another side is looked at."""
    values = np.ravel(estimates.value if value is None else value)
    place = int(np.nanargmax(values))
    return place, float(values[place]), float(np.ravel(estimates.error)[place])
