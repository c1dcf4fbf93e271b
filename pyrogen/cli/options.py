"""Options and arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Directory of the data sets; by default PYROGEN_DATA, the run's, or a cache."),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all random numbers.")]

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")]
StoryFile = Annotated[
    str | None,
    typer.Option("--story", metavar="FILE.py:CLASS", help="Your own class, for a run that is not of pyrogen's."),
]
