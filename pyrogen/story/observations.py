"""Which column a site observes, and observed sites drawn anew."""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.story.arguments import Signature


class Unobserved(Messenger):
    """Draws some observed sites anew; other observations stay.

    Args:
        names: of the sites to draw.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and msg["is_observed"]:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


def observes(trace: Any, sites: tuple[str, ...], key: str | int, column: Any) -> bool:
    """Whether a column is the value of one of the observed sites, judged by name, memory or content.

    Args:
        trace: of the model.
        sites: names of the observed sites.
        key: of the column.
        column: the column itself.

    Returns:
        True if it is.
    """
    if key in sites or not isinstance(column, Tensor):
        return key in sites
    return any(_same(trace.nodes[name]["value"], column) for name in sites)


def _same(value: Any, column: Tensor) -> bool:
    if not isinstance(value, Tensor) or value.is_meta:
        return False
    if value.untyped_storage().data_ptr() == column.untyped_storage().data_ptr():
        return True
    alike = value.numel() == column.numel()
    return alike and bool((value.reshape(-1) == column.reshape(-1)).all())


def name_of(key: str | int, model: Signature) -> str:
    """The name that a model gives to a column.

    Args:
        key: the column's name, or its position where the data came without names.
        model: the model's signature.

    Returns:
        The name.
    """
    return model.positions[key] if isinstance(key, int) and key < len(model.positions) else str(key)
