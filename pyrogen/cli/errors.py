"""Errors in one line."""

from __future__ import annotations

import typer

from pyrogen.messages import did_you_mean

ParserError: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises for wrong usage. Typer has it from Click, newer versions from a Click of their own."""

_READABLE = (ValueError, TypeError, OSError, FloatingPointError, ImportError)
"""Errors whose text is written for users: pyrogen's own are of these types."""


def one_line(error: Exception) -> str:
    """An error as one line.

    Args:
        error: the error.

    Returns:
        Its text; with its type where the text alone may not be understood.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, _READABLE) and text:
        return text
    kind = type(error).__name__
    return f"{kind}{': ' if text else ''}{text} (--debug shows the traceback)"


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
