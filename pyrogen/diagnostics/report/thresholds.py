"""Thresholds of metrics: a tolerance, and how far chance may move an estimate beyond it.

A metric passes if it is within its tolerance, or outside by no more than chance explains. An exact guide is therefore
called wrong in less than one diagnosis in a hundred, however many metrics and latents there are; and a guide that is
slightly wrong is not rejected merely because there are many data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.report.findings import Finding, Metric, Part, Purpose, Remedy, Verdict

FALSE_ALARM = 0.01
"""False-alarm rate of a whole diagnosis."""

_JUDGED = 12
"""Largest number of metrics of one diagnosis whose verdict depends on chance; they share the false-alarm rate."""

ALPHA = FALSE_ALARM / _JUDGED
"""False-alarm rate of one metric (Bonferroni)."""


def critical(comparisons: int = 1) -> float:
    """The two-sided normal quantile at level `ALPHA / comparisons`.

    Args:
        comparisons: number of estimates of which the largest is judged; 1 by default.

    Returns:
        The number of standard errors.
    """
    return NormalDist().inv_cdf(1 - ALPHA / (2 * max(1, comparisons)))


@dataclass(frozen=True)
class Bounds:
    """The thresholds of a metric for `caution` and for `do not believe`.

    Args:
        caution: the tolerance.
        severe: the threshold for `do not believe`, where importance weights no longer help; none by default.
        above: whether values above the thresholds are bad (the default), or those below.
    """

    caution: float
    severe: float = math.inf
    above: bool = True

    def judge(self, value: float, error: float, comparisons: int = 1) -> Verdict:
        """The verdict on an estimate.

        Args:
            value: the estimate.
            error: its standard error; nan or infinite: taken as 0.
            comparisons: number of estimates of which this is the worst; 1 by default.

        Returns:
            `believe`, `caution` or `do not believe`.
        """
        slack = critical(comparisons) * error if math.isfinite(error) else 0.0
        beyond = (lambda bound: value - slack > bound) if self.above else (lambda bound: value + slack < bound)
        return "do not believe" if beyond(self.severe) else "caution" if beyond(self.caution) else "believe"


@dataclass
class Assessment:
    """The metrics and findings collected so far.

    Args:
        part: the part of the diagnosis to which what is added belongs: `guide`, `latents` or `fit`.
        purposes: the uses of the story that what is added bears on; none by default.
        metrics: by name; empty by default.
        findings: in the order of the checks; empty by default.
    """

    part: Part
    purposes: tuple[Purpose, ...] = ()
    metrics: dict[str, Metric] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def report(self, name: str, value: float, error: float, about: str) -> None:
        """Add a metric without a verdict.

        Args:
            name: of the metric.
            value: the estimate.
            error: its standard error, or nan.
            about: what it measures, with its unit.
        """
        self.metrics[name] = Metric(float(value), float(error), None, None, self.part, about, self.purposes)

    def judge(
        self,
        name: str,
        value: float,
        error: float,
        bounds: Bounds,
        about: str,
        comparisons: int = 1,
    ) -> Verdict | None:
        """Add a metric with its verdict.

        Args:
            name: of the metric.
            value: the estimate.
            error: its standard error, or nan.
            bounds: its thresholds.
            about: what it measures, with its unit.
            comparisons: number of estimates of which this is the worst; 1 by default.

        Returns:
            The verdict if it is bad; None if the metric passes.
        """
        verdict = bounds.judge(float(value), float(error), comparisons)
        given = (float(value), float(error), bounds.caution, verdict)
        self.metrics[name] = Metric(*given, self.part, about, self.purposes)
        return None if verdict == "believe" else verdict

    def find(self, kind: str, verdict: Verdict | None, message: str, *remedies: Remedy) -> None:
        """Add a finding.

        Args:
            kind: in one word.
            verdict: the verdict that it causes; None for a remark.
            message: what was found.
            *remedies: what to do, the first thing first.
        """
        self.findings.append(Finding(kind, self.part, verdict, message, remedies, self.purposes))

    def fault_of_guide(self) -> str | None:
        """What was found wrong with the guide so far, on which further weights of its draws depend.

        A guide that is believed for the ESS of its weights can have a high k-hat all the same.

        Returns:
            The message; None where nothing is known.
        """
        faults = [f.message for f in self.findings if f.part == "guide" and f.verdict is not None]
        khat = self.metrics.get("khat")
        if not faults and khat is not None and khat.threshold is not None and not khat.value <= khat.threshold:
            faults = [f"the joint importance weights of the guide have a Pareto k-hat of {khat.value:.2f}"]
        return faults[0] if faults else None


def worst(estimates: Estimates, criterion: Array | None = None) -> tuple[int, float, float]:
    """The estimate with the largest value, nan excluded.

    Args:
        estimates: of any shape.
        criterion: what is maximized in place of their values, of the same shape; None by default.

    Returns:
        Its flat index, the maximum, and its standard error.
    """
    values = np.ravel(estimates.value if criterion is None else criterion)
    place = int(np.nanargmax(values))
    return place, float(values[place]), float(np.ravel(estimates.error)[place])
