"""The command line: parse, call, print."""

from pyrogen.cli.app import main

__all__ = ["main"]
