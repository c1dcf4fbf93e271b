"""Options and arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataDir", "Device", "Directory", "Draws", "Seed", "StoryFile"]

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the run.")]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the data sets; else PYROGEN_DATA, the run's, a cache.")
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")]
Draws = Annotated[int, typer.Option("-k", min=1, help="Draws for each datum.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all draws.")]
StoryFile = Annotated[
    str | None, typer.Option(metavar="FILE.py:CLASS", help="Your own class, where the run is not of one of pyrogen's.")
]
