"""Errors and phrases that the parts of pyrogen share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import numpy as np


class UsageError(ValueError):
    """A name that does not exist, or a setting that cannot be as it is given; the command line exits with status 2."""


def refuse_masked(what: str, values: object) -> None:
    """Refuse one of numpy's masked arrays with a masked element, or a list that holds one: a tensor has no mask.

    Args:
        what: what the message calls it, such as "column 'x'".
        values: anything.

    Raises:
        ValueError: it is one.
    """
    if isinstance(values, list | tuple):
        for each in values:
            if isinstance(each, list | tuple | np.ma.MaskedArray):
                refuse_masked(what, each)
    elif np.ma.is_masked(values):
        raise ValueError(
            f"{what} is a masked array, whose mask would be lost: fill it (array.filled(value)) and pass ~array.mask "
            "as a column of its own, which the model can give to poutine.mask; or drop these rows"
        )


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
