"""An input with its right outcome, what came of it, and the verdict."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrogen

PACKAGE = str(Path(pyrogen.__file__).parent)
FAULTS = (
    "traceback",
    "hang",
    "foreign message",
    "silent acceptance",
    "wrong refusal",
    "wrong status",
    "unclear message",
    "wrong result",
    "files changed",
)
_FOREIGN = re.compile(
    r"not supported between|object has no attribute|object is not|positional argument|invalid literal|must be Tensor"
    r"|Error\b.*Error\b|size mismatch|cannot be multiplied|index out of range|cannot be interpreted|infer dtype"
    r"|unhashable|--debug shows|Expected .* to have|\(type=|iterat(e|ion) over|not enough values|StopIteration"
    r"|concatenate|ambiguous|must be real number|expected sequence|allocat"
)
"""Words that Python, torch, numpy and Pyro say, and pyrogen does not."""


@dataclass(frozen=True)
class Outcome:
    """What came of an input: `status` as the command line has it; of a call 0 where it returned, 1 where it raised."""

    status: int
    out: str = ""
    err: str = ""
    value: Any = None
    error: BaseException | None = None
    hung: bool = False

    @property
    def message(self) -> str:
        """The text of a refusal."""
        return str(self.error) if self.error is not None else self.err.strip()


@dataclass(frozen=True)
class Right:
    """The right outcome: its status; of a refusal words that its line holds, of what is accepted a check of it."""

    status: int
    words: tuple[str, ...] = ()
    check: Callable[[Outcome], str] = field(default=lambda outcome: "")
    of_user: bool = False
    """Whether a user's own file fails, whose error is told with its type and line."""


def refused(*words: object, status: int = 1) -> Right:
    """A refusal whose line holds these words."""
    return Right(status, tuple(map(str, words)))


def accepted(check: Callable[[Outcome], str] = lambda outcome: "") -> Right:
    """What is accepted; the check says what is wrong with the result, or nothing."""
    return Right(0, check=check)


@dataclass(frozen=True)
class Case:
    """An input: a command line, or a call; `kept` are paths that it must leave as they are where it is refused."""

    text: str
    run: list[str] | Callable[[], Any]
    right: Right
    kept: tuple[Path, ...] = ()


def fingerprint(paths: tuple[Path, ...]) -> str:
    """A digest of files and folders, by name and content."""
    digest = hashlib.sha256()
    for top in paths:
        for path in sorted([top, *top.rglob("*")] if top.is_dir() and not top.is_symlink() else [top]):
            digest.update(str(path).encode("utf-8", "surrogateescape"))
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def verdict(case: Case, outcome: Outcome, changed: bool) -> tuple[str, str]:
    """The fault, one of `FAULTS`, and what shows it; two empty strings where the outcome is the right one."""
    right = case.right
    if outcome.hung:
        return "hang", ""
    if "Traceback (most recent" in outcome.out + outcome.err:
        return "traceback", outcome.err[-300:]
    if not outcome.status:
        if right.status:
            return "silent acceptance", outcome.out[-200:]
        wrong = right.check(outcome)
        return ("wrong result", wrong) if wrong else ("", "")
    return _of_refusal(right, outcome, changed)


def _of_refusal(right: Right, outcome: Outcome, changed: bool) -> tuple[str, str]:
    message = outcome.message
    if not right.status:
        return "wrong refusal", message
    if not right.of_user and _is_foreign(outcome):
        return "foreign message", message
    if outcome.error is None and outcome.status != right.status:
        return "wrong status", f"{outcome.status}, expected {right.status}: {message}"
    lines = message.splitlines()
    begins = outcome.error is not None or message.startswith("pyrogen: ")
    if len(lines) != 1 or not begins or "\x1b" in message or any(word not in message for word in right.words):
        return "unclear message", f"{message!r} lacks one of {right.words}"
    return ("files changed", message) if changed else ("", "")


def _is_foreign(outcome: Outcome) -> bool:
    """Whether a refusal is not pyrogen's own: raised elsewhere, of another type, or in others' words."""
    if outcome.error is not None:
        frames = traceback.extract_tb(outcome.error.__traceback__)
        own = bool(frames) and frames[-1].filename.startswith(PACKAGE) and "raise" in (frames[-1].line or "raise")
        if not own or not isinstance(outcome.error, ValueError | TypeError | OSError | FloatingPointError):
            return True
    return _FOREIGN.search(outcome.message) is not None
