"""Command lines that choose named runs, which train into folders."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch

__all__ = ["chosen", "command"]


def command(description: str | None, runs: Iterable[str]) -> argparse.ArgumentParser:
    """The arguments that all of them take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="run", help=f"which of {', '.join(runs)} (all of them)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="of the run folders (runs)")
    return parser


def chosen(parser: argparse.ArgumentParser, runs: Iterable[str]) -> argparse.Namespace:
    """What was asked for, all runs where none was named; torch has its threads."""
    options, known = parser.parse_args(), list(runs)
    if unknown := [name for name in options.runs if name not in known]:
        parser.error(f"run: expected {', '.join(known)}, got {', '.join(unknown)}")
    options.runs = options.runs or known
    torch.set_num_threads(options.threads)
    return options
