"""Parameters in training: their optimizer, its schedule, clipping and averages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from pyrogen.inference.optim.adam_kernel import AdamKernel, without_compiler_import
from pyrogen.inference.optim.flat_parameters import MAX_FLAT_PARAMETERS, FlatParameters, average_weight
from pyrogen.inference.optim.gradients import set_gradients

MAX_FLATTENINGS = 4
"""Times that parameters are flattened, where the caller gives them other storage again and again."""

NamedParameters = Iterable[tuple[str, Tensor]]
MakeOptimizer = Callable[[NamedParameters], torch.optim.Optimizer]


def adam(lr: float = 1e-3, **options: Any) -> MakeOptimizer:
    """One fused Adam over all parameters (Kingma and Ba 2015, arXiv:1412.6980), as `fit` takes an optimizer.

    Args:
        lr: the learning rate; 1e-3 by default.
        options: further options of `torch.optim.Adam`.

    Returns:
        A function from (name, parameter) pairs to the optimizer.
    """
    return functools.partial(torch.optim.Adam, lr=lr, **{"fused": True, **options})


class Optimization:
    """Parameters in training, with their optimizer, its schedule, clipping and averages.

    Optimizer and schedule are made when the first parameters are added.

    Args:
        optimizer: from (name, parameter) pairs to a `torch.optim.Optimizer`; None for `adam()`.
        schedule: from the optimizer to a scheduler of `torch.optim.lr_scheduler` that is stepped each step, or None.
        clip_norm: largest norm of the gradient per datum; None does not clip.
        ema: decay of exponential moving averages of the parameters; None keeps none.
    """

    def __init__(
        self,
        optimizer: MakeOptimizer | None,
        schedule: Callable[[torch.optim.Optimizer], Any] | None,
        clip_norm: float | None,
        ema: float | None,
    ) -> None:
        self.make_optimizer, self.make_schedule = optimizer or adam(), schedule
        self.clip_norm, self.decay = clip_norm, ema
        self.parameters: dict[str, Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        self.schedule: Any = None
        self.averages: dict[str, Tensor] | None = None
        self.num_steps = 0
        self.flat: FlatParameters | None = None
        self._num_unflattened = 0
        self._kernel: AdamKernel | None = None

    def add_parameters(self, parameters: dict[str, Tensor]) -> None:
        """Train parameters; those that were added before stay as they are.

        Args:
            parameters: by name.

        Raises:
            ValueError: `schedule` makes a `ReduceLROnPlateau`.
        """
        self.unflatten()
        new = {name: p for name, p in parameters.items() if name not in self.parameters}
        self.parameters.update(new)
        if self.optimizer is None:
            with without_compiler_import():
                self.optimizer = _checked(self.make_optimizer(list(new.items())))
            self.schedule = self.make_schedule(self.optimizer) if self.make_schedule is not None else None
            if isinstance(self.schedule, ReduceLROnPlateau):
                raise ValueError(
                    "schedule: ReduceLROnPlateau needs a metric of each epoch, and schedules here are stepped each "
                    "step: pass cosine(steps), or use patience="
                )
        elif new:
            # Into the first group, so that options and schedule hold for parameters that are added later as well.
            group = self.optimizer.param_groups[0]
            group["params"].extend(new.values())
            if "param_names" in group:
                group["param_names"].extend(new)
        if self.decay is not None:
            self.averages = {**{n: p.detach().clone() for n, p in new.items()}, **(self.averages or {})}

    def set_gradients(self, loss: Tensor, differentiable: bool, check: str | None) -> None:
        """Put the gradients of a loss into the parameters' `grad`.

        Args:
            loss: of the whole data plate.
            differentiable: whether the loss is to be differentiated; if not, the objective has set the gradients
                already.
            check: the story's name, where every parameter must receive a gradient; else None.

        Raises:
            ValueError: a parameter receives none.
        """
        tensors = list(self.parameters.values())
        gradients: Any = [p.grad for p in tensors]
        if differentiable:
            gradients = [None] * len(tensors)
            if loss.requires_grad:
                gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
        unused = [name for name, g in zip(self.parameters, gradients, strict=True) if g is None]
        if check is not None and unused:
            raise ValueError(
                f"{check}: parameter '{unused[0]}' receives no gradient from the objective ({len(unused)} of "
                f"{len(tensors)} do not): use it in model or guide, remove it, or name it in freeze="
            )
        set_gradients(tensors, gradients)

    def step(self, divisor: float) -> None:
        """Update parameters by their gradients, then averages, schedule and step count.

        Args:
            divisor: the number by which the loss is divided to be per datum.
        """
        assert self.optimizer is not None
        self._write_step_count()
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip_norm * divisor)
        if self._kernel is None or not self._kernel.is_current():
            self._kernel = AdamKernel(self.optimizer) if AdamKernel.suits(self.optimizer) else None
        # torch's schedules want to see the optimizer's own first step.
        if (self.schedule is not None and self.num_steps == 0) or self._kernel is None or not self._kernel.step():
            self.optimizer.step()
        self.count_step()
        if self.averages is not None and self.decay is not None:
            values = [self.parameters[name].detach() for name in self.averages]
            num_steps = torch.tensor(self.num_steps, dtype=torch.float64, device="cpu")
            torch._foreach_lerp_(list(self.averages.values()), values, float(average_weight(self.decay, num_steps)))

    def count_step(self) -> None:
        """Count a step that was taken, and step the schedule."""
        if self.schedule is not None:
            self.schedule.step()
        self.num_steps += 1

    def flatten(self) -> None:
        """Move parameters, moments and averages into one tensor, where that is possible; see `FlatParameters`."""
        if self.flat is None and self._num_unflattened < MAX_FLATTENINGS and self._can_flatten():
            assert self.optimizer is not None
            self.flat = FlatParameters(self.parameters, self.optimizer, self.averages, self.decay)

    def unflatten(self) -> None:
        """Give every tensor storage of its own again."""
        if self.flat is not None:
            self._write_step_count()
            self.flat.release()
            self.flat = None
            self._num_unflattened += 1

    def _write_step_count(self) -> None:
        if self.flat is not None:
            self.flat.write_step_count(self.num_steps)

    def _can_flatten(self) -> bool:
        """Whether the optimizer is a plain Adam or AdamW with one group of not too many parameters of one type."""
        optimizer: Any = self.optimizer
        parameters = list(self.parameters.values())
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or len(optimizer.param_groups) != 1:
            return False
        group = optimizer.param_groups[0]
        plain = not (group["amsgrad"] or group["maximize"]) and isinstance(group["lr"], float | int)
        small = sum(p.numel() for p in parameters) <= MAX_FLAT_PARAMETERS
        alike = len({p.dtype for p in parameters}) == 1
        on_cpu = all(p.device.type == "cpu" and p.is_floating_point() for p in parameters)
        steps = {float(optimizer.state[p].get("step", -1.0)) if p in optimizer.state else -1.0 for p in parameters}
        lr_alone = not isinstance(self.schedule, OneCycleLR | CyclicLR)  # they change momentum too
        return plain and small and alike and on_cpu and steps == {float(self.num_steps)} and lr_alone

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"]) if self.optimizer is not None else 0.0

    def state(self) -> dict[str, Any]:
        """State of optimizer and schedule, averages, and the number of steps.

        Returns:
            The state, for a checkpoint.
        """
        self._write_step_count()
        with without_compiler_import():
            optimizer = self.optimizer.state_dict() if self.optimizer is not None else None
        return {
            "optimizer": optimizer,
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "averages": self.averages,
            "num_steps": self.num_steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state; the parameters are added already.

        Args:
            state: what `state()` returned.
        """
        if self.optimizer is not None and state["optimizer"] is not None:
            with without_compiler_import():
                self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.averages is not None:
            for name, value in state["averages"].items():
                self.averages[name].copy_(value)
        self.num_steps = state["num_steps"]


def _checked(optimizer: Any) -> torch.optim.Optimizer:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "optimizer must be a function from (name, parameter) pairs to a torch.optim.Optimizer, got one to a "
            f"{type(optimizer).__name__}"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("optimizer: LBFGS evaluates the loss several times a step, which a noisy ELBO does not allow")
    return optimizer
