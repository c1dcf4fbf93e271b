"""On CUDA: a whole step captured once as one graph of kernels, and replayed.

A replay costs one launch. Rows are fetched inside, from the resident columns; noise is fresh in every replay, since
captured draws read the generator's position; rates, averages' weights and an objective's weight are tensors on the
device, written before the replay. Nothing in a step reads back: a loss that is not finite stops all later movement, and
is met when losses are next looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from pyrogen.inference.compile.compiled_step import Compilable, CompiledGradients, compiled, kept_state
from pyrogen.inference.compile.tracing import CannotTrace
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.story import Batch

__all__ = ["CapturedStep", "capture"]

WARM_UP = 3


class Replayed(Protocol):
    """A captured body."""

    def replay(self) -> None:
        """Run it again."""


def capture(body: Callable[[], None]) -> Replayed:
    """Record what `body` launches, after a few runs beside, as CUDA asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            body()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as a loader's, may go on calling CUDA.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        body()
    return graph


class CapturedStep:
    """A whole step as one replay.

    Args:
        plan: the compiled loss and gradients.
        step: whose step it is.
        batch: such as it will be given.

    Raises:
        CannotTrace: the optimizer cannot be captured, or the program reads tensors of the host.
    """

    mode = "captured"

    def __init__(self, plan: CompiledGradients, step: Compilable, batch: Batch) -> None:
        self.plan, self.layout, self.graph = plan, plan.layout, plan.graph
        self.optimization: Optimization = step.optimization
        given = plan.layout.tensors(batch)
        device = next(iter(self.optimization.parameters.values())).device
        # Resident columns are read where they lie; what comes anew with each batch gets a place of its own.
        resident = {id(t) for t in plan.layout.columns(batch).values()} if plan.layout.by_position else set()
        self.static = [t if id(t) in resident else t.to(device, copy=True) for t in given]
        self.last = [(t, t._version) for t in given]
        self.hosted = [(t, t.to(device, copy=True)) for t in plan.graph.live if t.device != device]
        if any(t.dim() for t, _ in self.hosted):
            raise CannotTrace("it reads a tensor that lies on the host")
        places = {id(t): place for t, place in self.hosted}
        self.live = [places.get(id(t), t) for t in plan.graph.live]
        # A graph compiled for a number on the host would read it in each run.
        self.call = plan.call if not self.hosted else compiled(plan.graph.module, [*self.static, *self.live])
        dtype = next(iter(self.optimization.parameters.values())).dtype
        known = getattr(self.optimization.optimizer, "found_inf", None)  # one flag for all kinds of batch
        self.flag = torch.zeros((), dtype=torch.float32, device=device) if known is None else known
        self.loss = torch.zeros((), dtype=dtype, device=device)
        self.taken = torch.zeros((), dtype=torch.float64, device=device)
        self._to_device(device)
        moments = _state_of(self.optimization)
        held = [tensor.clone() for tensor in moments]
        try:
            with kept_state(step):
                self.replayed = capture(self._body)
        finally:
            with torch.no_grad():
                for tensor, value in zip(moments, held, strict=True):
                    tensor.copy_(value)
                self.flag.zero_()

    def _to_device(self, device: torch.device) -> None:
        """Rates and counts as tensors on the device, which a replay reads anew."""
        optimizer: Any = self.optimization.optimizer
        if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            raise CannotTrace(f"{type(optimizer).__name__} is not captured (Adam and AdamW are)")
        for group in optimizer.param_groups:
            group["capturable"], group["fused"], group["foreach"] = device.type == "cuda", True, None
            if not isinstance(group["lr"], Tensor) or group["lr"].device != device:
                group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=device)
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float32).to(device)
        vars(optimizer).update(found_inf=self.flag, grad_scale=None)  # what a fused step heeds

    def _body(self) -> None:
        """One step, in tensors of fixed place alone."""
        optimization = self.optimization
        with torch.no_grad():
            loss, *gradients = self.call(*self.static, *self.live)
            self.flag.copy_(torch.maximum(self.flag, (~torch.isfinite(loss)).to(self.flag.dtype)))
            self.loss.copy_(torch.where(self.flag > 0, torch.nan, loss))
        for parameter, gradient in zip(self.plan.parameters, gradients, strict=True):
            parameter.grad = gradient
        if optimization.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.plan.parameters, optimization.clip_norm * self.plan.divisor)
        assert optimization.optimizer is not None
        optimization.optimizer.step()
        with torch.no_grad():
            self.taken.add_(1 - self.flag)
            if optimization.average is not None:
                averages = list(optimization.average.values())
                moved = torch._foreach_sub(
                    [optimization.parameters[n].detach() for n in optimization.average], averages
                )
                weight = optimization.average_weight(self.taken) * (1 - self.flag)
                torch._foreach_mul_(moved, weight.to(averages[0].dtype))
                torch._foreach_add_(averages, moved)

    def __call__(self, batch: Batch) -> Tensor:
        """Take a step; the loss before it, undivided, or nan if this or an earlier one was not finite."""
        given = self.layout.tensors(batch)
        for place, tensor, (before, version) in zip(self.static, given, self.last, strict=True):
            if place is not tensor and (tensor is not before or tensor._version != version):
                place.copy_(tensor, non_blocking=True)
        self.last = [(t, t._version) for t in given]
        for tensor, place in self.hosted:
            place.fill_(float(tensor))
        self.taken.fill_(self.optimization.taken)
        self.replayed.replay()
        self.optimization.count()
        return self.loss.clone()

    def loss_and_gradients(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The undivided loss and its gradients, no step taken; random state and buffers move."""
        return self.plan.loss_and_gradients(batch)


def _state_of(optimization: Optimization) -> list[Tensor]:
    """The tensors that a step moves beside the weights."""
    optimizer: Any = optimization.optimizer
    moments = [
        v for p in optimization.parameters.values() for v in optimizer.state[p].values() if isinstance(v, Tensor)
    ]
    return [*moments, *(optimization.average or {}).values()]
