"""Steps without Pyro: the loss written by hand, eager, compiled, and captured as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from svi.case import RATE, Case, Parameters
from svi.variant import NotPossibleError, Variant

__all__ = ["Captured", "FusedStep", "Torch", "compiled_forms"]

SMALL = 50_000
"""Parameters of the largest case whose optimizer is tried inside the compiled step."""
FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8


class Torch(Variant):
    """The loss by hand, `backward`, one fused Adam.

    Args:
        name: of the variant.
        case: what is stepped.
        start: the values that the program's parameters start from.
        device: where.
        form: in words.
        compiler: what the loss function goes through.
        options: further options of Adam.
    """

    def __init__(
        self,
        name: str,
        case: Case,
        start: Parameters,
        device: torch.device,
        form: str = "",
        compiler: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, device, form)
        self._start = {n: p.to(device) for n, p in case.by_hand(start).items()}
        self._parameters = {n: p.clone().requires_grad_() for n, p in self._start.items()}
        self.columns = tuple(column.to(device) for column in case.data().values())
        self.optimizer = torch.optim.Adam(self._parameters.values(), lr=RATE, fused=True, **options)
        self.loss = case.loss if compiler is None else compiler(case.loss)
        self.prepare()

    def prepare(self) -> None:
        """Let what is made lazily be made."""
        self.run(3)

    def step(self) -> Tensor:
        """Take a step."""
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self._parameters, *self.columns)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def parameters(self) -> Parameters:
        """Leaf tensors."""
        return self._parameters

    def start(self) -> Parameters:
        """As packed by hand."""
        return self._start


class Captured(Torch):
    """The same, the whole step captured once as a CUDA graph and replayed."""

    def prepare(self) -> None:
        """Warm up on another stream, and capture."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.run(3)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad()
        with torch.cuda.graph(self.graph):
            self.result = super().step()
        self.captured = True

    def step(self) -> Tensor:
        """Replay."""
        if not hasattr(self, "captured"):
            return super().step()
        self.graph.replay()
        return self.result


class FusedStep(Variant):
    """Loss, gradients and Adam of a small case as one compiled function of one vector that holds all parameters."""

    def __init__(
        self, name: str, case: Case, start: Parameters, device: torch.device, form: str, compiler: Callable[[Any], Any]
    ) -> None:
        super().__init__(name, device, form)
        self._start = {n: p.to(device) for n, p in case.by_hand(start).items()}
        self.columns = tuple(column.to(device) for column in case.data().values())
        self.vector = torch.cat([p.reshape(-1) for p in self._start.values()])
        self.moments = torch.zeros_like(self.vector), torch.zeros_like(self.vector)
        self.taken = torch.zeros((), device=device)
        self.call = compiler(self._whole(case))
        self.run(3)

    def _whole(self, case: Case) -> Callable[..., Tensor]:
        split = self._split

        def loss_of(vector: Tensor, *columns: Tensor) -> Tensor:
            return case.loss(split(vector), *columns)

        def whole(vector: Tensor, first: Tensor, second: Tensor, taken: Tensor, *columns: Tensor) -> Tensor:
            gradient, loss = torch.func.grad_and_value(loss_of)(vector, *columns)
            taken.add_(1)
            first.lerp_(gradient, 1 - FIRST)
            second.mul_(SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
            unbiased = (second / (1 - SECOND**taken)).sqrt() + EPSILON
            vector.sub_(RATE / (1 - FIRST**taken) * first / unbiased)
            return loss

        return whole

    def _split(self, vector: Tensor) -> Parameters:
        pieces = vector.split([p.numel() for p in self._start.values()])
        return {name: piece.view(p.shape) for (name, p), piece in zip(self._start.items(), pieces, strict=True)}

    def step(self) -> Tensor:
        """Take a step."""
        with torch.no_grad():
            loss: Tensor = self.call(self.vector, *self.moments, self.taken, *self.columns)
        return loss

    def parameters(self) -> Parameters:
        """Pieces of the vector."""
        return self._split(self.vector)

    def start(self) -> Parameters:
        """As packed by hand."""
        return self._start


def compiled_forms(case: Case, start: Parameters, device: torch.device) -> list[Variant]:
    """The ways to compile that are worth trying, the fastest of which is what counts.

    Raises:
        NotPossibleError: none compiles.
    """
    given: Any = ("torch_compiled", case, start, device)
    small = sum(p.numel() for p in start.values()) <= SMALL
    makers: list[Callable[[], Variant]] = []
    for draws, options in (("inductor's draws", None), ("torch's draws", {"fallback_random": True})):

        def compiler(function: Any, options: Any = options) -> Any:
            return torch.compile(function, fullgraph=True, dynamic=False, options=options)

        makers.append(lambda c=compiler, d=draws: Torch(*given, f"loss compiled, fused Adam, {d}", c))
        if small:
            makers.append(lambda c=compiler, d=draws: FusedStep(*given, f"whole step compiled, {d}", c))
    if device.type == "cuda":

        def reduced(function: Any) -> Any:
            return torch.compile(function, fullgraph=True, dynamic=False, mode="reduce-overhead")

        makers.append(lambda: Torch(*given, "loss compiled with CUDA graphs, fused Adam", reduced, capturable=True))
    made, reasons = [], []
    for maker in makers:
        try:
            made.append(maker())
        except Exception as error:
            reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
    if not made:
        raise NotPossibleError(f"torch.compile: {reasons[0]}")
    return made
