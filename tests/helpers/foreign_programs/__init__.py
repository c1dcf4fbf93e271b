"""Pyro programs as strangers write them, and what every operation of pyrogen must answer on them."""

from tests.helpers.foreign_programs import discrete, enumerated, guides, networks, regressions, series
from tests.helpers.foreign_programs.foreign import Foreign

__all__ = ["PROGRAMS", "Foreign"]

PROGRAMS = [
    program for room in (regressions, guides, discrete, enumerated, networks, series) for program in room.PROGRAMS
]
