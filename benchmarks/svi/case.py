"""A case: one model and guide, told in Pyro and once more by hand in plain torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyrogen.story import Store

__all__ = ["RATE", "Case", "Columns", "Parameters", "initial_values"]

RATE, SEED = 1e-3, 0
Columns = dict[str, Tensor]
Parameters = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """One model and guide.

    Args:
        about: in words.
        data: draws the columns of a batch, always the same, in the order in which model and guide take them.
        program: makes model and guide as Pyro functions; networks start from torch's random state.
        loss: the same loss by hand, from parameters and columns; its value is minus the ELBO of the batch.
        objective: makes the Pyro ELBO.
        by_hand: from the program's parameters to those of `loss`, which has as many numbers.
    """

    about: str
    data: Callable[[], Columns]
    program: Callable[[], tuple[Any, Any]]
    loss: Callable[..., Tensor]
    objective: Callable[[], Any] = Trace_ELBO
    by_hand: Callable[[Parameters], Parameters] = dict

    def fresh(self) -> tuple[Any, Any]:
        """Model and guide with the weights that every variant starts from."""
        torch.manual_seed(SEED)
        return self.program()


def initial_values(case: Case) -> Parameters:
    """The unconstrained parameters that every variant starts from, by name, on the CPU."""
    store = Store()
    with store.activated():
        model, guide = case.fresh()
        columns = case.data()
        guide(*columns.values())
        model(*columns.values())
    return {name: p.detach().clone() for name, p in store.params.items()}
