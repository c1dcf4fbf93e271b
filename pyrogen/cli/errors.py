"""Errors in one line."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

import typer

import pyrogen
from pyrogen.messages import did_you_mean, is_own, remedy

ParserError: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises for wrong usage. Typer has it from Click, newer versions from a Click of their own."""

_READABLE = (ValueError, TypeError, OSError, FloatingPointError, ImportError)
"""Types of pyrogen's own errors, whose text is written for users."""
_PACKAGE = str(Path(pyrogen.__file__).parent) + os.sep
_LIBRARIES = (_PACKAGE, "<", *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")})


def one_line(error: BaseException) -> str:
    """An error as one line.

    Args:
        error: the error.

    Returns:
        Its text; of errors that are not pyrogen's own with the type, and the line of a user's file that they come from.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        name = "standard output" if error.filename is None else " ".join(str(error.filename).split())
        return f"{name}: {error.strerror}{'' if is_own(error) else f'; {remedy(error)}'}"
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return f"out of memory{_place(error)}: take fewer rows (--batch-size) or draws (-k, -n), or a smaller story"
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) was called{_place(error)}: leave it out, or let it raise an error"
    if isinstance(error, RecursionError) or "maximum recursion depth" in text:
        return (
            f"something is nested too deeply, or calls itself without end{_place(error)} (--debug shows the traceback)"
        )
    if is_own(error) and isinstance(error, _READABLE) and text:
        return text
    kind = type(error).__name__
    return f"{kind}{': ' if text else ''}{text}{_place(error)} (--debug shows the traceback)"


def _place(error: BaseException) -> str:
    """The innermost line of a user's file that an error passed, where there is one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_LIBRARIES) and Path(frame.filename).name != "pyrogen":
            return f", in {frame.filename} line {frame.lineno} ({frame.name})"
    return ""


def usage_line(error: Exception) -> str:
    """Wrong usage as one line.

    Args:
        error: a `ParserError`.

    Returns:
        Its text, with the nearest known option, and which `--help` explains it.
    """
    ctx = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    text = str(getattr(error, "format_message", lambda: error)()).rstrip(".")
    if option is not None and text.startswith("No such option"):
        known = [name for parameter in ctx.command.params for name in parameter.opts] if ctx is not None else []
        text = f"no such option {option}{did_you_mean(str(option), [*known, '--debug', '--help'])}"
    text = text.replace("Value error, ", "")
    place = f" (see {ctx.command_path} --help)" if ctx is not None else ""
    return " ".join((text[:1].lower() + text[1:]).split()) + place
