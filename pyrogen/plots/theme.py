"""Colours that are readable on a light and on a dark background."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyrogen.messages import printable

_WIDTH = 40
"""Characters of a name."""

BLUE, ORANGE, RED, GREY = "#4a86c8", "#d9822b", "#cf5353", "#8a8a8a"


@contextmanager
def transparent_theme() -> Iterator[None]:
    """Make Matplotlib figures with a transparent background, and text and axes in a middle grey.

    Yields:
        None. Matplotlib's settings are restored on leaving.
    """
    from cycler import cycler
    from matplotlib import rc_context

    grey = {f"{part}.color": GREY for part in ("text", "xtick", "ytick", "grid")}
    grey |= {f"axes.{part}color": GREY for part in ("label", "edge", "title")}
    ground = {"axes.facecolor": "none", "figure.facecolor": "none"}
    bare = {"axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": cycler(color=[BLUE, ORANGE, RED])}
    with rc_context({**grey, **ground, **bare}):
        yield


def plain_label(name: str) -> str:
    """A name that others chose, such as that of a site, as Matplotlib shows it unchanged.

    Args:
        name: the name.

    Returns:
        The name, cut short where it is long, in which `$` begins no formula.
    """
    name = printable(name.replace("\n", " "))
    name = name if len(name) <= _WIDTH else f"{name[: _WIDTH - 3]}..."
    return name.replace("$", r"\$")
