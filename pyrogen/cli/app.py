"""The command `pyrogen`, and how its errors are told."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from pyrogen import __version__
from pyrogen.cli.diagnose import diagnose_run
from pyrogen.cli.errors import UsageError, one_line, usage_line
from pyrogen.cli.evaluate import evaluate
from pyrogen.cli.listing import list_all
from pyrogen.cli.sample import sample
from pyrogen.cli.train import train

__all__ = ["main"]

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="pyrogen",
    help="Deep generative models as probabilistic programs: train them, and know whether to believe them.",
    epilog="Exit status: 0 done, 1 failed with one line on standard error, 2 wrong usage, 130 interrupted.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(evaluate)
app.command()(sample)
app.command("diagnose")(diagnose_run)
app.command("list")(list_all)


@app.callback(invoke_without_command=True)
def pyrogen(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On an error show the traceback; show warnings.")] = False,
) -> None:
    if version:
        print(f"pyrogen {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: what follows `pyrogen`; None: the process's own arguments.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    arguments, debug = _without_debug(sys.argv[1:] if argv is None else argv)
    try:
        with _warnings(shown=debug):
            command = typer.main.get_command(app)
            # Not command.main(), which exits, prints on several lines and swallows interrupts.
            with command.make_context("pyrogen", list(arguments)) as ctx:
                command.invoke(ctx)
            sys.stdout.flush()
    except typer.Exit as stopped:
        return stopped.exit_code
    except UsageError as error:
        return _told(usage_line(error), WRONG_USAGE)
    except BrokenPipeError:
        # Whoever read standard output has left: nothing more to say, and nothing to say it to at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return _told(f"interrupted{_resuming(arguments)}", INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _told(one_line(error), FAILED)
    return DONE


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which may stand anywhere before a `--`, and whether it was there."""
    arguments = list(argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _resuming(arguments: list[str]) -> str:
    """How to go on with what was interrupted."""
    if arguments[:1] != ["train"]:
        return ""
    again = [] if "--resume" in arguments else ["--resume"]
    return f"; to go on: {shlex.join(['pyrogen', *arguments, *again])}"


@contextmanager
def _warnings(shown: bool) -> Iterator[None]:
    """Warnings of the libraries below are for developers: hidden, unless asked for."""
    with warnings.catch_warnings():
        if not shown:
            warnings.simplefilter("ignore")
        yield


def _told(line: str, status: int) -> int:
    print(f"pyrogen: {line}", file=sys.stderr)
    return status
