"""The result of a diagnosis: a verdict for each use of the story, with what decided it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.report.findings import (
    PARTS,
    PURPOSES,
    VERDICTS,
    Finding,
    Metric,
    Part,
    Purpose,
    Verdict,
    worst_verdict,
)

_SENTENCES: dict[Purpose, tuple[str, str, str]] = {
    "samples": ("samples may be used", "use samples with caution", "do not use samples"),
    "likelihood": (
        "the estimate of log p(x) is right",
        "read the estimate of log p(x) with caution",
        "do not use the estimate of log p(x)",
    ),
    "posterior": (
        "codes, latents and intervals may be read",
        "read codes, latents and intervals with caution",
        "do not read codes, latents and intervals",
    ),
}
"""What each verdict says of a purpose, from the best to the worst."""

NO_PROBLEM = "no check found a problem"
_MISFIT_AT_WORST: Verdict = "caution"
"""The worst verdict on the posterior for a bad fit to the data: a wrong model has a posterior too."""


@dataclass(frozen=True)
class Headline:
    """Whether a story may be used for a purpose.

    Args:
        purpose: `samples`, `likelihood` or `posterior`.
        verdict: on that use.
        reason: of the verdict, in words.
        findings: all problems that bear on it, those that decided it first.
        figure: of the likelihood, the estimate in words; empty by default.
    """

    purpose: Purpose
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]
    figure: str = ""

    @property
    def sentence(self) -> str:
        """What may be done, and why it is so, without a full stop."""
        figure = f" ({self.figure})" if self.figure else ""
        return f"{_SENTENCES[self.purpose][VERDICTS.index(self.verdict)]}{figure}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.purpose}: {self.verdict}: {self.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """The headline, ready for JSON.

        Returns:
            A dict with `verdict`, `sentence` and `findings`, the kinds of these.
        """
        return {"verdict": self.verdict, "sentence": self.sentence, "findings": [f.kind for f in self.findings]}


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
        return worst_verdict([headline.verdict for headline in self.purposes.values()])

    @property
    def purposes(self) -> dict[Purpose, Headline]:
        """Whether the story may be used for each purpose, by the checks that bear on it.

        A bad fit to the data lowers the verdict on the posterior to `caution` at most: a wrong model has a posterior
        too.
        """
        return {use: self._headline(use) for use in self.uses}

    def _headline(self, use: Purpose) -> Headline:
        caused = {}
        for item in self._items():
            if use in item.purposes and item.verdict is not None:
                capped = use == "posterior" and item.part == "fit"
                caused[item] = min(item.verdict, _MISFIT_AT_WORST, key=VERDICTS.index) if capped else item.verdict
        verdict = worst_verdict(caused.values())
        problems = sorted((f for f in self.findings if f in caused), key=lambda f: caused[f] != verdict)
        deciding = [item for item, its in caused.items() if its == verdict != "believe"]
        about = next((item.about for item in deciding if isinstance(item, Metric)), NO_PROBLEM)
        reason = problems[0].message if problems else about
        return Headline(use, verdict, reason, tuple(problems), self._likelihood() if use == "likelihood" else "")

    def _likelihood(self) -> str:
        """The estimate of log p(x), and how far it may be too low."""
        estimate, gap = (self.figures.get(name) for name in ("log_likelihood", "likelihood_gap"))
        if estimate is None:
            return ""
        low = "" if gap is None else f", too low by about {gap.value:.2g}"
        rows = self.protocol["n"] if self.protocol.get("kind") == "shared" else 1
        value = estimate.value - self.protocol.get("log_scale", 0.0) * rows
        return f"{Estimate(value, estimate.error)} nats{low}"

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
        return worst_verdict([item.verdict for item in self._items() if item.part == part])

    @property
    def sentence(self) -> str:
        """The verdict in a sentence, with the first reason that decided it and its remedies."""
        verdict = f"{self.verdict[0].upper()}{self.verdict[1:]}"
        deciding = [headline for headline in self.purposes.values() if headline.verdict == self.verdict]
        first = [headline.findings[0] for headline in deciding if headline.findings]
        return f"{verdict}: {min(first, key=self.findings.index) if first else deciding[0].reason}"

    def to_dict(self) -> dict[str, Any]:
        """The content of `summary.json`.

        Returns:
            A dict with the keys `verdict`, `purposes`, `reasons`, `findings`, `figures`, `sentence`, `parts`,
            `remarks`, `skipped`, `protocol`.
        """
        parts = {item.part for item in self._items()}
        return {
            "verdict": self.verdict,
            "purposes": {use: headline.to_dict() for use, headline in self.purposes.items()},
            "reasons": self.reasons,
            "findings": [finding.to_dict() for finding in self.findings],
            "figures": {name: metric.to_dict() for name, metric in self.figures.items()},
            "sentence": self.sentence,
            "parts": {part: self.verdict_on(part) for part in PARTS if part in parts},
            "remarks": self.remarks,
            "skipped": dict(self.skipped),
            "protocol": dict(self.protocol),
        }

    def __str__(self) -> str:
        lines = [f"{self.sentence}.", *(f"  {headline}" for headline in self.purposes.values())]
        for finding in self.findings:
            lines += [f"- {finding.message}", *(f"    {remedy}" for remedy in finding.remedies)]
        return "\n".join(lines)

    def _items(self) -> list[Metric | Finding]:
        return [*self.figures.values(), *self.findings]
