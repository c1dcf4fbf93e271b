"""Errors and phrases that the parts of pyrogen share."""

from __future__ import annotations

import difflib
import dis
import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

RESUME_COMMAND: ContextVar[str | None] = ContextVar("RESUME_COMMAND", default=None)
"""What resumes the run, where it is the command line that runs."""


_PACKAGE = str(Path(__file__).parent) + os.sep
_RAISE = dis.opmap["RAISE_VARARGS"]


class UsageError(ValueError):
    """A name that does not exist, or a setting that cannot be as it is given; the command line exits with status 2."""


class Terminated(SystemExit):
    """A signal has ended the run; the exit status is 128 and the signal's number, as a shell has it.

    Args:
        received: the signal.
        position: where the run is, and what is kept of it.
    """

    def __init__(self, received: signal.Signals, position: str) -> None:
        super().__init__(128 + received)
        self.message = f"{received.name}: {position}"


def is_own(error: BaseException) -> bool:
    """Whether a `raise` of pyrogen's made the error, rather than Python, a library, or a user's file.

    Args:
        error: the error, with its traceback.

    Returns:
        True where it did, or explains an error of a user's.
    """
    place, cause = _innermost(error), _innermost(error.__cause__ or error.__context__)
    if place is None or place is cause:  # an explanation of a user's error, which has its traceback
        return True
    code = place.tb_frame.f_code
    return code.co_filename.startswith(_PACKAGE) and code.co_code[place.tb_lasti] == _RAISE


def _innermost(error: BaseException | None) -> TracebackType | None:
    place = None if error is None else error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place


def refuse_masked(what: str, values: object) -> None:
    """Refuse one of numpy's masked arrays with a masked element, or a list that holds one: a tensor has no mask.

    Args:
        what: what the message calls it, such as "column 'x'".
        values: anything.

    Raises:
        ValueError: it is one.
    """
    masked_arrays: Any = sys.modules.get("numpy.ma")  # it takes long to import: without it there are none
    if masked_arrays is None:
        return
    if isinstance(values, list | tuple):
        for each in values:
            if isinstance(each, list | tuple | masked_arrays.MaskedArray):
                refuse_masked(what, each)
    elif masked_arrays.is_masked(values):
        raise ValueError(
            f"{what} is a masked array, whose mask would be lost: fill it (array.filled(value)) and pass ~array.mask "
            "as a column of its own, which the model can give to poutine.mask; or drop these rows"
        )


_FORBIDDEN = "choose a place that you may write to, or change its permissions"
_REMEDIES = {
    errno.ENOSPC: "free some space there, or choose another disk",
    errno.EDQUOT: "free some of your quota there, or choose another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another disk",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of that path is a file: choose another one",
    errno.EISDIR: "that is a folder: name a file in it",
    errno.ENOENT: "choose a folder that exists or can be made",
}
_REFUSED = "cannot be written: "


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Let errors of the system that arise in writing name the path and a remedy.

    Args:
        path: what is written.

    Yields:
        None.

    Raises:
        OSError: of the same number, with the path as its file name.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if reason.startswith(_REFUSED):
            raise
        raise OSError(error.errno, f"{_REFUSED}{reason}; {remedy(error)}", str(path)) from error


def remedy(error: OSError) -> str:
    """What a user can do about an error of the system.

    Args:
        error: the error.

    Returns:
        The advice.
    """
    return _REMEDIES.get(error.errno or 0, "see to it, or choose another place")


def as_path(text: str | Path, what: str) -> Path:
    """A path that a user gave, with `~` expanded.

    Args:
        text: the path.
        what: the argument that it was given as, for messages.

    Returns:
        The path.

    Raises:
        TypeError: it is neither text nor a path.
        ValueError: it is empty, cannot be a path in UTF-8, or names the home of a user that does not exist.
    """
    if not isinstance(text, str | os.PathLike):
        raise TypeError(f"{what} is {text!r}, a {type(text).__name__}: expected a path, such as runs/first")
    if not str(text).strip() or "\0" in str(text):
        raise ValueError(f"{what} is {str(text)!r}: expected a path, such as runs/first")
    if any("\ud800" <= character <= "\udfff" for character in str(text)):
        raise ValueError(f"{what} is {str(text)!r}, which is no text in UTF-8: choose another name")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0]
        raise ValueError(
            f"{what} is {str(text)!r}, and {user} is nobody's home: write ./{text} or a full path"
        ) from None


def printable(text: str) -> str:
    """A text as it can be shown on any terminal: control characters, such as those of colours, are escaped.

    Args:
        text: the text, maybe with names that others chose.

    Returns:
        The same, but for characters that move a cursor, change colours, or cannot be encoded.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


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
