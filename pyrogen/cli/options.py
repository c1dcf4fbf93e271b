"""Options and arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyrogen.messages import as_path


def path_option(text: str | Path) -> Path:
    """The path that an option or argument gives, for Typer's `parser`.

    Args:
        text: the path; `~` is expanded.

    Returns:
        The path.

    Raises:
        typer.BadParameter: it is empty, or names the home of a user that does not exist.
    """
    try:
        return as_path(text, "it")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


DataDir = Annotated[
    Path | None,
    typer.Option(
        parser=path_option,
        metavar="DIR",
        help="Directory of the data sets; by default PYROGEN_DATA, the run's, or a cache.",
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all random numbers.")]

Directory = Annotated[Path, typer.Argument(parser=path_option, metavar="DIR", help="Directory of the run.")]
StoryFile = Annotated[
    str | None,
    typer.Option("--story", metavar="FILE.py:CLASS", help="Your own class, for a run that is not of pyrogen's."),
]
