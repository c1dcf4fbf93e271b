"""What the checks of a diagnosis say: metrics, findings, and remedies that are commands or lines of Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pyrogen.diagnostics.core.estimates import finite_or_none

Verdict = Literal["believe", "caution", "do not believe"]
VERDICTS: tuple[Verdict, ...] = ("believe", "caution", "do not believe")
"""From the best to the worst."""

Part = Literal["guide", "latents", "fit"]
PARTS: dict[Part, str] = {"guide": "guide", "latents": "use of latents", "fit": "fit to the data"}
"""The parts of a diagnosis, each judged separately, with their titles."""

Purpose = Literal["samples", "likelihood", "posterior"]
PURPOSES: dict[Purpose, str] = {
    "samples": "new data drawn from the model, used like observed ones",
    "likelihood": "log p(x) as it is estimated, as a figure of the model",
    "posterior": "codes, latents and intervals, read as what the data say",
}
"""What a trained story is used for, in words."""

_CAUSES = ("untested", "untrained", "correlations", "shifted", "narrow", "wide")
"""Kinds of findings that explain others, which come after them."""


@dataclass(frozen=True)
class Remedy:
    """Something to do, as a line that runs as it is.

    Args:
        text: what it does, in words.
        python: a line of Python, of `run` (what was diagnosed), `story` (its story), `data` (the data that were
            examined: those of training, where data share latents) and `training` (the training data; `data` where no
            others were given). It imports what it needs, but pyrogen.
        options: options of `pyrogen train` to add to those that the run was trained with, such as `--patience 10`; of
            several `--set key=value` the first that the story offers. Empty by default: not by training anew.
        command: the words after `pyrogen`, `RUN` for the folder of the run; empty by default: not on the command line.
        line: the command as it is typed, where the run lies in a folder; empty by default.
    """

    text: str
    python: str
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    line: str = ""

    @property
    def code(self) -> str:
        """The command, or the line of Python where there is none."""
        return self.line or self.python

    def __str__(self) -> str:
        return f"{self.text}: {self.code}"


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
        purposes: the uses of the story that it bears on; none by default.
    """

    value: float
    error: float
    threshold: float | None
    verdict: Verdict | None
    part: Part
    about: str
    purposes: tuple[Purpose, ...] = ()

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
        verdict: the verdict that it causes; None for a remark, which causes none.
        message: what was found.
        remedies: what to do, the first thing first; none where nothing needs to be done.
        purposes: the uses of the story that it bears on; none by default.
    """

    kind: str
    part: Part
    verdict: Verdict | None
    message: str
    remedies: tuple[Remedy, ...] = field(default=())
    purposes: tuple[Purpose, ...] = ()

    def __str__(self) -> str:
        return f"{self.message}; {'; or '.join(r.text for r in self.remedies)}" if self.remedies else self.message

    def to_dict(self) -> dict[str, Any]:
        """The finding, ready for JSON.

        Returns:
            Kind, part, verdict, message, purposes and remedies, each with `text`, `command` (null where there is
            none) and `python`.
        """
        fixed = {"kind": self.kind, "part": self.part, "verdict": self.verdict, "message": self.message}
        remedies = [
            {"text": remedy.text, "command": remedy.line or None, "python": remedy.python} for remedy in self.remedies
        ]
        return {**fixed, "purposes": list(self.purposes), "remedies": remedies}


def worst_verdict(verdicts: Iterable[Verdict | None]) -> Verdict:
    """The worst of some verdicts.

    Args:
        verdicts: None stands for what was not judged.

    Returns:
        The worst; `believe` where there is none.
    """
    return max((v for v in verdicts if v is not None), key=VERDICTS.index, default="believe")


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings sorted: the most severe first, causes before their effects, remarks last.

    Args:
        findings: in any order; equal ones stay in theirs.

    Returns:
        The same findings, sorted.
    """
    severity = [*reversed(VERDICTS), None]
    causes = {kind: place for place, kind in enumerate(_CAUSES)}
    return tuple(sorted(findings, key=lambda f: (severity.index(f.verdict), causes.get(f.kind, len(causes)))))
