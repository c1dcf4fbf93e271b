"""Log weights of many equal chunks of rows, compiled where there are enough of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.compile.compiled_step import compile_graph
from pyrogen.inference.compile.input_signature import InputSignature, Key, signature_key
from pyrogen.inference.compile.tracing import CannotTrace, trace
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import preserve_random_state
from pyrogen.inference.program.row_log_weights import row_log_weights
from pyrogen.story import Batch

MIN_CHUNKS_TO_COMPILE = 100
"""Equal chunks, of a tenth of a second or more each, that take longer than compiling."""


class LogWeightEvaluator:
    """Log weights of chunks of rows.

    The draws of a compiled chunk are those of an eager one, and its weights equal to rounding, which is checked once.

    Args:
        program: model and guide, in evaluation mode.
        num_chunks: how many chunks of each size there will be, by (rows, draws).
    """

    def __init__(self, program: Program, num_chunks: Mapping[tuple[int, int], int]) -> None:
        self.program, self.num_chunks = program, num_chunks
        self._compiled: dict[Key, Callable[[Batch], Tensor] | None] = {}  # None where it cannot be compiled

    def __call__(self, rows: Batch, draws: int) -> Tensor:
        """The log weights of a chunk.

        Args:
            rows: the rows.
            draws: number of draws for each row.

        Returns:
            (draws, n), in nats.
        """
        compiled = None
        if self.num_chunks.get((rows.n, draws), 0) >= MIN_CHUNKS_TO_COMPILE:
            try:
                key = (draws, *signature_key(rows))
                if key not in self._compiled:
                    self._compiled[key] = None
                    self._compiled[key] = self._compile(rows, draws)
                compiled = self._compiled[key]
            except CannotTrace:
                pass
        return self._eager(rows, draws) if compiled is None else compiled(rows)

    def _eager(self, rows: Batch, draws: int) -> Tensor:
        return row_log_weights(self.program.model, self.program.guide, rows, draws)[0]

    def _compile(self, rows: Batch, draws: int) -> Callable[[Batch], Tensor]:
        signature = InputSignature.of(rows, None)

        def weights(*tensors: Tensor) -> list[Tensor]:
            return [self._eager(signature.batch(tensors), draws)]

        with preserve_random_state():
            graph = trace(weights, signature.tensors(rows))
            call = compile_graph(graph.module, [*signature.tensors(rows), *graph.captured])

        def compiled(batch: Batch) -> Tensor:
            result: Any = call(*signature.tensors(batch), *graph.captured)
            return result[0].clone()  # with CUDA graphs, the next call overwrites it

        with preserve_random_state():
            expected = self._eager(rows, draws)
        with preserve_random_state():
            actual = compiled(rows)
        if not torch.allclose(actual, expected, rtol=1e-4, atol=1e-3):
            raise CannotTrace("the compiled log weights differ from the eager ones")
        return compiled
