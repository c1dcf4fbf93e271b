"""Run directories, opened with a user's own class where they need one."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from pyrogen.catalog import find, load, rebuild_as
from pyrogen.inference import Fit, RunDirectory
from pyrogen.inference.program.input_checks import resolve_device
from pyrogen.messages import printable


def load_run(directory: Path, story: str | None, device: str) -> Fit:
    """Load the run in a directory, its story on a device.

    Args:
        directory: the directory.
        story: `path/to/file.py:Class` for a class that is not pyrogen's; None: pyrogen's own.
        device: `auto`, `cpu`, `cuda`, ...

    Returns:
        The run.

    Raises:
        typer.BadParameter: `story` does not name a file.
    """
    if story is None:
        run = load(directory)
    elif ".py" not in story:
        raise typer.BadParameter(f"expected path/to/file.py:Class, got '{story}'", param_hint="'--story'")
    else:
        files = RunDirectory(directory)
        run = load(directory, into=rebuild_as(find(story), files.config().get("story"), files.path))
    run.story.to(resolve_device(device))
    if not run.finished:
        taken = f"after {len(run.history)} epochs" if run.history else "within its first epoch"
        line = f"{directory} is not finished: these are its weights {taken}; `pyrogen train ... --resume` goes on"
        print(printable(f"pyrogen: {line}"), file=sys.stderr)
    return run
