"""Errors in one line."""

from __future__ import annotations

import typer

from pyrogen.messages import did_you_mean

__all__ = ["UsageError", "one_line", "usage_line"]

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises for wrong usage. Typer has it from Click, newer versions from a Click of their own."""

_SAYS_IT_ALL = (ValueError, TypeError, OSError, FloatingPointError, ImportError)
"""Errors whose text is meant for users: pyrogen's own are of these kinds."""


def one_line(error: Exception) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, _SAYS_IT_ALL) and text:
        return text
    kind = type(error).__name__
    return f"{kind}: {text} (--debug shows where)" if text else f"{kind} (--debug shows where)"


def usage_line(error: Exception) -> str:
    """Wrong usage as one line, with the nearest known option and where to look."""
    ctx = getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    text = str(getattr(error, "format_message", lambda: error)()).rstrip(".")
    if wrong is not None and text.startswith("No such option"):
        known = [name for parameter in ctx.command.params for name in parameter.opts] if ctx is not None else []
        text = f"no such option {wrong}{did_you_mean(str(wrong), [*known, '--debug', '--help'])}"
    text = text.replace("Value error, ", "")
    place = f" (see {ctx.command_path} --help)" if ctx is not None else ""
    return " ".join((text[:1].lower() + text[1:]).split()) + place
