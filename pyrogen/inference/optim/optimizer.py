"""What is trained and how: the optimizer, its schedule, clipping and averaged weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.optim.flat_parameters import FlatParameters

__all__ = ["Optimization", "adam"]

MOST_PACKED = 4
"""So often parameters that others lay elsewhere are packed again."""

Named = Iterable[tuple[str, Tensor]]


def adam(lr: float = 1e-3, **options: Any) -> Callable[[Named], torch.optim.Optimizer]:
    """One fused Adam over all parameters (Kingma and Ba 2015, arXiv:1412.6980), as `fit` takes an optimizer.

    Args:
        lr: the rate.
        options: further options of `torch.optim.Adam`.
    """
    return functools.partial(torch.optim.Adam, lr=lr, **{"fused": True, **options})


class Optimization:
    """What is trained and how: the optimizer and its schedule, made when the first loss has made the parameters."""

    def __init__(
        self,
        optimizer: Callable[[Named], torch.optim.Optimizer] | None,
        schedule: Callable[[torch.optim.Optimizer], Any] | None,
        clip_norm: float | None,
        ema: float | None,
    ) -> None:
        self.make, self.make_schedule = optimizer or adam(), schedule
        self.clip_norm, self.decay = clip_norm, ema
        self.parameters: dict[str, Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        self.schedule: Any = None
        self.average: dict[str, Tensor] | None = None
        self.taken = 0
        self.packed: FlatParameters | None = None
        self.unpacked = 0

    def start(self, parameters: dict[str, Tensor]) -> None:
        """Take charge of the parameters; those that come later join."""
        self.unpack()
        new = {name: p for name, p in parameters.items() if name not in self.parameters}
        self.parameters.update(new)
        if self.optimizer is None:
            self.optimizer = _checked(self.make(list(new.items())))
            self.schedule = self.make_schedule(self.optimizer) if self.make_schedule is not None else None
            if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
                raise ValueError(
                    "schedule: ReduceLROnPlateau waits for a figure each epoch, and schedules here are stepped "
                    "each step: use cosine(steps), or patience="
                )
        elif new:
            # Into the first group, so that options and schedule hold for parameters that come late as well.
            group = self.optimizer.param_groups[0]
            group["params"].extend(new.values())
            if "param_names" in group:
                group["param_names"].extend(new)
        if self.decay is not None:
            self.average = {**{n: p.detach().clone() for n, p in new.items()}, **(self.average or {})}

    def step(self, divisor: float) -> None:
        """Move the parameters by the gradients that they hold."""
        assert self.optimizer is not None
        if self.packed is not None:
            self.packed.sync()
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip_norm * divisor)
        self.optimizer.step()
        self.count()
        if self.average is not None:
            values = [self.parameters[name].detach() for name in self.average]
            weight = float(self.average_weight(torch.tensor(self.taken, dtype=torch.float64, device="cpu")))
            torch._foreach_lerp_(list(self.average.values()), values, weight)

    def count(self) -> None:
        """A step was taken: on to the next rate."""
        if self.schedule is not None:
            self.schedule.step()
        self.taken += 1

    def average_weight(self, taken: Tensor) -> Tensor:
        """The weight of the new value in the average after `taken` steps.

        Early averages forget the start faster: it is at least 9 / (steps + 10).
        """
        assert self.decay is not None
        return 1 - ((1 + taken) / (10 + taken)).clamp(max=self.decay)

    def pack(self) -> None:
        """Lay parameters, moments and averages side by side, where they can be."""
        if self.packed is None and self.unpacked < MOST_PACKED and FlatParameters.serves(self):
            self.packed = FlatParameters(self)

    def unpack(self) -> None:
        """Give every tensor storage of its own again."""
        if self.packed is not None:
            self.packed.release()
            self.packed = None
            self.unpacked += 1

    @property
    def rate(self) -> float:
        """The learning rate now."""
        return float(self.optimizer.param_groups[0]["lr"]) if self.optimizer is not None else 0.0

    def state(self) -> dict[str, Any]:
        """Optimizer, schedule and averages, for a checkpoint."""
        if self.packed is not None:
            self.packed.sync()
        return {
            "optimizer": self.optimizer.state_dict() if self.optimizer is not None else None,
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "average": self.average,
            "taken": self.taken,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; the parameters are in charge already."""
        if self.optimizer is not None and state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            for name, value in state["average"].items():
                self.average[name].copy_(value)
        self.taken = state["taken"]


def _checked(optimizer: Any) -> torch.optim.Optimizer:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must make a torch.optim.Optimizer from (name, parameter) pairs, got a "
            f"{type(optimizer).__name__}"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("optimizer: LBFGS evaluates the loss several times a step, which a noisy ELBO does not allow")
    return optimizer
