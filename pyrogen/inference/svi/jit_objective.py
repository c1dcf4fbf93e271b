"""Pyro's TorchScript objectives, whose programs may only take tensors by position and constants by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from pyro.infer import JitTrace_ELBO, JitTraceEnum_ELBO, JitTraceGraph_ELBO, JitTraceMeanField_ELBO
from torch import Tensor

from pyrogen.story import Batch

JIT_OBJECTIVES = (JitTrace_ELBO, JitTraceEnum_ELBO, JitTraceGraph_ELBO, JitTraceMeanField_ELBO)


class _Unpacked:
    """A program of one batch as a program of its tensors, and of its constants by name."""

    def __init__(self, program: Callable[[Batch], Any]) -> None:
        self.program = program

    def __call__(self, *tensors: Tensor, keys: tuple[Any, ...], n: int, total: int | None, constants: Any) -> Any:
        columns, extra = dict(constants[0]), dict(constants[1])
        index = None
        for (kind, key), tensor in zip(keys, tensors, strict=True):
            if kind == "index":
                index = tensor
            else:
                (columns if kind == "column" else extra)[key] = tensor
        return self.program(Batch(columns, n, total, index, extra))


class JitObjective:
    """A TorchScript objective as a function of two programs of one batch.

    Args:
        objective: one of `JIT_OBJECTIVES`. Each number of rows has a copy of it: Pyro's compiled code for one may take
            the parameters in another order than that for another.
        model: function of a batch.
        guide: function of a batch.
    """

    def __init__(self, objective: Any, model: Callable[..., Any], guide: Callable[..., Any]) -> None:
        self.objective, self.copies = objective, dict[Any, Any]()
        self.model, self.guide = _Unpacked(model), _Unpacked(guide)  # compiled code is found by these very objects

    def __call__(self, model: Any, guide: Any, batch: Batch) -> Any:
        """The loss of a batch.

        Args:
            model: ignored, as the objective holds it.
            guide: ignored.
            batch: the rows; a new number of rows is compiled anew.

        Returns:
            What the objective returns.
        """
        named: dict[tuple[str, Any], Any] = {("column", key): value for key, value in batch.columns.items()}
        named.update({("extra", key): value for key, value in batch.extra.items()})
        tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
        if batch.index is not None:
            tensors["index", "index"] = batch.index
        constants = tuple(
            tuple((key, value) for (kind, key), value in named.items() if kind == wanted and (kind, key) not in tensors)
            for wanted in ("column", "extra")
        )
        static = {"keys": tuple(tensors), "n": batch.n, "total": batch.total}
        objective = self.copies.setdefault((batch.n, tuple(tensors)), copy.copy(self.objective))
        run = getattr(objective, "differentiable_loss", objective.loss_and_grads)
        return run(self.model, self.guide, *tensors.values(), **static, constants=constants)
