"""The command `pyrogen`: its sub-commands, exit statuses, and errors in one line."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from pyrogen import __version__
from pyrogen.cli.errors import ParserError, one_line, usage_line
from pyrogen.messages import RESUME_COMMAND, Terminated, UsageError, printable

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "train": ("train", "Train a story on data, and keep the run in a directory."),
    "evaluate": (
        "evaluate",
        "Estimate the log-likelihood of a split of the data; for a GAN, the quality of its samples.",
    ),
    "sample": ("sample", "Draw new data from a trained story into a file."),
    "diagnose": (
        "diagnose_run",
        "Check whether a trained story can be believed; write summary.json, report.html, pictures and posterior.nc.",
    ),
}
"""The commands: for each the function in the module of that name, which is imported when it is used, and a summary."""
LISTING = Path(__file__).parents[1] / "catalog" / "listing.txt"
"""What `pyrogen list` prints, written by `catalog/listing.py`."""

OPTIONS: Any = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}


class Command(typer.core.TyperCommand):
    """A command whose options have one value each, but for those that are repeatable."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments.

        Args:
            ctx: of the call.
            args: the arguments.

        Returns:
            Those that are left.

        Raises:
            typer.BadParameter: an option is given twice.
        """
        order: list[Any] = self.make_parser(ctx).parse_args(list(args))[2]
        for parameter in order:
            single = parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
            if single and not parameter.multiple and order.count(parameter) > 1:
                raise typer.BadParameter("it is given twice: leave one out", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)


class CommandGroup(typer.core.TyperGroup):
    """The commands, each imported when it is used.

    Args:
        options: of the group, as typer passes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        stubs = {name: typer.core.TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}
        self.commands = {**stubs, **self.commands}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name.

        Args:
            ctx: of the call.
            cmd_name: the name.

        Returns:
            The command; None where there is none.
        """
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        single = typer.Typer(**OPTIONS)
        single.command(cmd_name, cls=Command)(
            getattr(importlib.import_module(f"pyrogen.cli.{cmd_name}"), COMMANDS[cmd_name][0])
        )
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with their summaries.

        Args:
            ctx: of the call.
            formatter: which writes the help.
        """
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in self.commands.items()])


app = typer.Typer(
    name="pyrogen",
    cls=CommandGroup,
    help="Deep generative models as probabilistic programs: train, evaluate and diagnose them.",
    epilog="Exit status: 0 done, 1 failed with one line on standard error, 2 wrong usage, 130 interrupted.",
    **OPTIONS,
)


@app.command("list")
def list_all() -> None:
    """List the stories with their settings, and the data sets."""
    print(LISTING.read_text(encoding="utf-8"), end="")


@app.callback(invoke_without_command=True)
def _pyrogen(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show warnings, and the traceback of an error.")] = False,
) -> None:
    if version:
        print(f"pyrogen {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: what follows `pyrogen`; None, the default: the process's own arguments.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    arguments, debug = _without_debug(sys.argv[1:] if argv is None else argv)
    command = RESUME_COMMAND.set(_resume_command(arguments))
    try:
        with _encodes_all(sys.stdout), _encodes_all(sys.stderr):
            status = _run(arguments, debug)
    finally:
        RESUME_COMMAND.reset(command)
    try:
        sys.stdout.flush()
    except OSError as error:  # the reader has left, or the disk is full: at exit Python must have something to flush to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED if isinstance(error, BrokenPipeError) else _print_error(one_line(error), FAILED)
    return status


@contextmanager
def _encodes_all(stream: Any) -> Iterator[None]:
    """Let a stream take names of files and data with characters that it cannot encode."""
    errors = stream.errors if hasattr(stream, "reconfigure") else None
    if errors is None:
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError):  # what is still to be written does not fit
            stream.reconfigure(errors=errors)


def _run(arguments: list[str], debug: bool) -> int:
    """Run a command; its exit status."""
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")  # those of libraries are for developers
            command = typer.main.get_command(app)
            # Not command.main(), which exits, prints on several lines and swallows interrupts.
            with command.make_context("pyrogen", list(arguments)) as ctx:
                command.invoke(ctx)
    except typer.Exit as stopped:
        return stopped.exit_code
    except Terminated as stopped:  # it has said so
        return int(stopped.code or FAILED)
    except BrokenPipeError:
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        resume = _resume_command(arguments)
        return _print_error(f"interrupted{f'; to resume: {resume}' if resume else ''}", INTERRUPTED)
    except ParserError as error:
        return _print_error(usage_line(error), WRONG_USAGE)
    except (Exception, SystemExit) as error:
        if debug:
            traceback.print_exc()
        return _print_error(one_line(error), WRONG_USAGE if isinstance(error, UsageError) else FAILED)
    return DONE


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which may stand anywhere before a `--`, and whether it was there."""
    arguments = list(argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _resume_command(arguments: list[str]) -> str | None:
    if arguments[:1] != ["train"]:
        return None
    option = [] if "--resume" in arguments else ["--resume"]
    return shlex.join(["pyrogen", *arguments, *option])


def _print_error(line: str, status: int) -> int:
    print(f"pyrogen: {printable(line)}", file=sys.stderr)
    return status
