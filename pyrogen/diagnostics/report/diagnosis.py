"""What an examination found: figures with their verdicts, findings with their remedies, and one verdict over all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["PARTS", "Diagnosis", "Finding", "Metric", "Part", "Verdict"]

Verdict = Literal["believe", "caution", "do not believe"]
Part = Literal["guide", "latents", "fit"]

_ORDER: tuple[Verdict, ...] = ("believe", "caution", "do not believe")
PARTS: dict[Part, str] = {"guide": "the guide", "latents": "the use of latents", "fit": "the fit to data"}
"""What is judged, each apart from the others."""


@dataclass(frozen=True)
class Metric:
    """A figure and what it is judged by.

    Args:
        value: the figure.
        error: its standard error; nan where none is to be had.
        threshold: what it may not pass, by more than its error explains; None where it is told for information.
        verdict: on this figure alone; None where it is not judged.
        part: of the examination.
        about: what it is, with its unit.
    """

    value: float
    error: float
    threshold: float | None
    verdict: Verdict | None
    part: Part
    about: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is not finite is None."""
        finite = {"value": _finite(self.value), "error": _finite(self.error), "threshold": self.threshold}
        return {**finite, "verdict": self.verdict}


@dataclass(frozen=True)
class Finding:
    """What is wrong, or worth a remark, and what to do about it.

    Args:
        kind: in a word, such as `narrow`, `wide`, `shifted`, `correlations`, `untrained`.
        part: of the examination.
        verdict: how far it bears on the part; None for a remark, which bears on nothing.
        message: what was found.
        remedy: what to do.
    """

    kind: str
    part: Part
    verdict: Verdict | None
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


@dataclass(frozen=True)
class Diagnosis:
    """The examination of a trained story.

    Args:
        subject: the story in words.
        figures: by name.
        findings: what is wrong, the gravest first, then remarks.
        results: what the tests gave, by name of the test: `weights`, `calibration`, `gaps`, ...
        skipped: tests that could not be made, with the reason.
        protocol: data, numbers of rows and draws, seed, versions, seconds.

    Example:
        >>> from pyrogen.diagnostics import diagnose
        >>> from pyrogen.models import PPCA
        >>> story = PPCA(4, latent=2).maximum_likelihood(torch.randn(200, 4))
        >>> found = diagnose(story, story.sample(200), budget="quick")
        >>> found.verdict, found.reasons
        ('believe', [])
    """

    subject: str
    figures: Mapping[str, Metric]
    findings: tuple[Finding, ...]
    results: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The guide's; a bad fit to data is a reason for caution at most: a posterior may be right of a wrong model."""
        return _worst([self.verdict_on("guide"), _mildest(self.verdict_on("fit"), "caution")])

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is no better: what was found and what to do, the gravest first."""
        return [str(finding) for finding in self.findings if finding.verdict is not None]

    @property
    def remarks(self) -> list[str]:
        """What is worth knowing and speaks against nothing."""
        return [str(finding) for finding in self.findings if finding.verdict is None]

    @property
    def kinds(self) -> set[str]:
        """Of what was found, without remarks."""
        return {finding.kind for finding in self.findings if finding.verdict is not None}

    def verdict_on(self, part: Part) -> Verdict:
        """The worst of a part's figures and findings."""
        return _worst([item.verdict for item in self._all() if item.part == part])

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        verdict = f"{self.verdict[0].upper()}{self.verdict[1:]}"
        if not self.reasons:
            return f"{verdict}: no test found anything wrong"
        return f"{verdict}: {self.reasons[0]}"

    def to_dict(self) -> dict[str, Any]:
        """What `summary.json` holds."""
        return {
            "verdict": self.verdict,
            "reasons": self.reasons,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "sentence": self.sentence,
            "parts": {part: self.verdict_on(part) for part in PARTS if any(f.part == part for f in self._all())},
            "remarks": self.remarks,
            "skipped": dict(self.skipped),
            "protocol": dict(self.protocol),
        }

    def __str__(self) -> str:
        others = [f"- {text}" for text in (*self.reasons[1:], *self.remarks)]
        return "\n".join([f"{self.sentence}.", *others])

    def _all(self) -> list[Metric | Finding]:
        return [*self.figures.values(), *self.findings]


def _worst(verdicts: Iterable[Verdict | None]) -> Verdict:
    return max((v for v in verdicts if v is not None), key=_ORDER.index, default="believe")


def _mildest(*verdicts: Verdict) -> Verdict:
    return min(verdicts, key=_ORDER.index)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
