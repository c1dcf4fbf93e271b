"""Log weights of many equal chunks of rows, compiled where there are enough of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.compile.compiled_step import compiled
from pyrogen.inference.compile.input_signature import Key, Layout, signature_key
from pyrogen.inference.compile.tracing import CannotTrace, trace
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import kept_random_state
from pyrogen.inference.program.row_log_weights import row_log_weights
from pyrogen.story import Batch

__all__ = ["LogWeightEvaluator"]

MIN_CHUNKS_TO_COMPILE = 100
"""Equal chunks, of a tenth of a second or more each, that earn the compiler's time."""


class LogWeightEvaluator:
    """Log weights of chunks of rows, (draws, n).

    A chunk's draws are those of the program run as it is; compiled weights equal its own to rounding, which is checked
    once.

    Args:
        program: the story, at home and predicting.
        chunks: how many chunks of each size there will be, by (rows, draws).
    """

    def __init__(self, program: Program, chunks: dict[tuple[int, int], int]) -> None:
        self.program, self.chunks = program, chunks
        self._calls: dict[Key, Callable[[Batch], Tensor] | None] = {}

    def __call__(self, rows: Batch, draws: int) -> Tensor:
        """The log weights of a chunk."""
        if self.chunks.get((rows.n, draws), 0) < MIN_CHUNKS_TO_COMPILE:
            return self._plain(rows, draws)
        try:
            key = (draws, *signature_key(rows))
            if key not in self._calls:
                self._calls[key] = None
                self._calls[key] = self._compiled(rows, draws)
        except CannotTrace:
            return self._plain(rows, draws)
        call = self._calls[key]
        return self._plain(rows, draws) if call is None else call(rows)

    def _plain(self, rows: Batch, draws: int) -> Tensor:
        return row_log_weights(self.program.model, self.program.guide, rows, draws)[0]

    def _compiled(self, rows: Batch, draws: int) -> Callable[[Batch], Tensor]:
        layout = Layout.of(rows)

        def weights(*tensors: Tensor) -> list[Tensor]:
            return [self._plain(layout.batch(tensors), draws)]

        with kept_random_state():
            graph = trace(weights, layout.tensors(rows))
            inner = compiled(graph.module, [*layout.tensors(rows), *graph.live])

        def call(batch: Batch) -> Tensor:
            result: Any = inner(*layout.tensors(batch), *graph.live)
            return result[0]

        with kept_random_state():
            expected = self._plain(rows, draws)
        with kept_random_state():
            told = call(rows)
        if not torch.allclose(told, expected, rtol=1e-4, atol=1e-3):
            raise CannotTrace("compiled weights are not the program's")
        return call
