"""Errors and phrases that the parts of pyrogen share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A name that does not exist, or a setting that cannot be as it is given; the command line exits with status 2."""


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`; did you mean 'x'?` where a known name is close to `name`, else an empty string.

    Args:
        name: what was given.
        known: the names that there are.

    Returns:
        The phrase, to be put behind the error's text.
    """
    close = difflib.get_close_matches(str(name), [str(each) for each in known], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
