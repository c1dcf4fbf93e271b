"""The result of a diagnosis: metrics with their verdicts, findings with their remedies, and one verdict over all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pyrogen.diagnostics.core.estimates import finite_or_none

Verdict = Literal["believe", "caution", "do not believe"]
Part = Literal["guide", "latents", "fit"]

_ORDER: tuple[Verdict, ...] = ("believe", "caution", "do not believe")
PARTS: dict[Part, str] = {"guide": "guide", "latents": "use of latents", "fit": "fit to the data"}
"""The parts of a diagnosis, each judged separately, with their titles."""

Purpose = Literal["samples", "likelihood", "posterior"]
PURPOSES: dict[Purpose, str] = {
    "samples": "samples from the model, used as data like those observed",
    "likelihood": "the estimated likelihood, as a figure of the model",
    "posterior": "codes, latents and intervals, read as what the data say",
}
"""What a trained story is used for, in words."""
_BEARING: dict[Purpose, tuple[Part, ...]] = {
    "samples": ("fit",),
    "likelihood": ("guide",),
    "posterior": ("guide", "fit"),
}
"""The parts of a diagnosis that bear on each purpose."""

_CAUSES = ("untested", "untrained", "correlations", "shifted", "narrow", "wide")
"""Kinds of findings that explain others, which come after them."""


@dataclass(frozen=True)
class Metric:
    """A number with its standard error, threshold and verdict.

    Args:
        value: the estimate.
        error: its standard error; nan where none is available.
        threshold: the tolerance; a value beyond it by more than its error explains is bad. None: not judged.
        verdict: on this metric alone; None: not judged.
        part: the part of the diagnosis that it belongs to: `guide`, `latents` or `fit`.
        about: what it measures, with its unit.
    """

    value: float
    error: float
    threshold: float | None
    verdict: Verdict | None
    part: Part
    about: str

    def to_dict(self) -> dict[str, Any]:
        """Value, error, threshold and verdict, ready for JSON.

        Returns:
            A dict with these four keys; a value or error that is not finite is None.
        """
        finite = {"value": finite_or_none(self.value), "error": finite_or_none(self.error), "threshold": self.threshold}
        return {**finite, "verdict": self.verdict}


@dataclass(frozen=True)
class Finding:
    """A problem, or a remark, and what to do about it.

    Args:
        kind: in one word, such as `narrow`, `wide`, `shifted`, `correlations`, `untrained`.
        part: the part of the diagnosis that it belongs to: `guide`, `latents` or `fit`.
        verdict: the verdict that it causes on the part; None for a remark, which causes none.
        message: what was found.
        remedy: what to do.
    """

    kind: str
    part: Part
    verdict: Verdict | None
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


@dataclass(frozen=True)
class Headline:
    """Whether a story may be used for a purpose.

    Args:
        purpose: `samples`, `likelihood` or `posterior`.
        verdict: on that use.
        findings: that decided it, the most severe first.
    """

    purpose: Purpose
    verdict: Verdict
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        reason = self.findings[0].message if self.findings else "no check found a problem"
        return f"{self.purpose}: {self.verdict} ({reason})"


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a trained story.

    Args:
        subject: name of the story.
        figures: the metrics by name.
        findings: problems, the most severe first, then remarks.
        results: what each check computed, by name of the check: `importance_weights`, `calibration`, ...
        skipped: the reason for each check that could not be run, by name of the check.
        protocol: data, numbers of rows and draws, seed, versions, seconds.
        columns: the examined data, by column.
        uses: the purposes that the story has and that were asked for; all of them by default.

    Example:
        >>> from pyrogen.diagnostics import diagnose
        >>> from pyrogen.models import PPCA
        >>> story = PPCA(4, latent=2).maximum_likelihood(torch.randn(200, 4))
        >>> diagnosis = diagnose(story, story.sample(200), budget="quick")
        >>> diagnosis.verdict, diagnosis.reasons
        ('believe', [])
    """

    subject: str
    figures: Mapping[str, Metric]
    findings: tuple[Finding, ...]
    results: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str | int, Any] = field(default_factory=dict)
    uses: tuple[Purpose, ...] = tuple(PURPOSES)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict among the purposes."""
        return _worst([headline.verdict for headline in self.purposes.values()])

    @property
    def purposes(self) -> dict[Purpose, Headline]:
        """Whether the story may be used for each purpose.

        Samples depend on the fit to the data; the likelihood on the guide, by which it is estimated; the posterior on
        the guide, and on the fit, which lowers it to `caution` at most: a wrong model has a posterior too.
        """
        return {use: self._headline(use) for use in self.uses}

    def _headline(self, use: Purpose) -> Headline:
        parts = _BEARING[use]
        verdicts = {part: self.verdict_on(part) for part in parts}
        if use == "posterior":
            verdicts["fit"] = min(verdicts["fit"], "caution", key=_ORDER.index)
        problems = [f for f in self.findings if f.part in parts and f.verdict is not None]
        return Headline(use, _worst(verdicts.values()), tuple(problems))

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is not better: each problem with its remedy, the most severe first."""
        return [str(finding) for finding in self.findings if finding.verdict is not None]

    @property
    def remarks(self) -> list[str]:
        """Findings that do not affect the verdict."""
        return [str(finding) for finding in self.findings if finding.verdict is None]

    @property
    def kinds(self) -> set[str]:
        """Kinds of the findings, remarks excluded."""
        return {finding.kind for finding in self.findings if finding.verdict is not None}

    def verdict_on(self, part: Part) -> Verdict:
        """The worst verdict among the metrics and findings of a part.

        Args:
            part: `guide`, `latents` or `fit`.

        Returns:
            `believe`, `caution` or `do not believe`; `believe` where nothing of the part was judged.
        """
        return _worst([item.verdict for item in self._items() if item.part == part])

    @property
    def sentence(self) -> str:
        """The verdict in a sentence, with the first reason that concerns a purpose."""
        verdict = f"{self.verdict[0].upper()}{self.verdict[1:]}"
        concerned = [f for f in self.findings if any(f in headline.findings for headline in self.purposes.values())]
        return f"{verdict}: {concerned[0] if concerned else 'no check found a problem'}"

    def to_dict(self) -> dict[str, Any]:
        """The content of `summary.json`.

        Returns:
            A dict with the keys `verdict`, `purposes`, `reasons`, `figures`, `sentence`, `parts`, `remarks`, `skipped`,
            `protocol`.
        """
        parts = {item.part for item in self._items()}
        return {
            "verdict": self.verdict,
            "purposes": {use: {"verdict": h.verdict, "sentence": str(h)} for use, h in self.purposes.items()},
            "reasons": self.reasons,
            "figures": {name: metric.to_dict() for name, metric in self.figures.items()},
            "sentence": self.sentence,
            "parts": {part: self.verdict_on(part) for part in PARTS if part in parts},
            "remarks": self.remarks,
            "skipped": dict(self.skipped),
            "protocol": dict(self.protocol),
        }

    def __str__(self) -> str:
        shown = self.sentence.partition(": ")[2]
        others = [f"- {text}" for text in (*self.reasons, *self.remarks) if text != shown]
        return "\n".join([f"{self.sentence}.", *(f"  {headline}" for headline in self.purposes.values()), *others])

    def _items(self) -> list[Metric | Finding]:
        return [*self.figures.values(), *self.findings]


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings sorted: the most severe first, causes before their effects, remarks last.

    Args:
        findings: in any order; equal ones stay in theirs.

    Returns:
        The same findings, sorted.
    """
    severity = [*reversed(_ORDER), None]
    causes = {kind: place for place, kind in enumerate(_CAUSES)}
    return tuple(sorted(findings, key=lambda f: (severity.index(f.verdict), causes.get(f.kind, len(causes)))))


def _worst(verdicts: Iterable[Verdict | None]) -> Verdict:
    return max((v for v in verdicts if v is not None), key=_ORDER.index, default="believe")
