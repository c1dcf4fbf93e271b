"""Flattened parameters: those of a small model and Adam's moments in one tensor, so that a step is one compiled call.

A step of a small model is bound by the number of calls and tensors, not by arithmetic. Compared with compiled gradients
and torch's fused Adam, compiling included, whole jobs of 20,000 steps take 0.84 to 0.93 of the CPU time, those of
50,000 steps 0.70 to 0.77 (`benchmarks/flat_parameters.py`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

MAX_FLAT_PARAMETERS = 50_000
"""Parameters of the largest model that is flattened; above, torch's fused optimizer is faster than a compiled one."""


def average_weight(decay: float, num_steps: Tensor) -> Tensor:
    """The weight of the newest parameters in their exponential moving average.

    Early averages forget the start faster: the weight is at least 9 / (num_steps + 10).

    Args:
        decay: of the average; the weight is 1 - decay in the long run.
        num_steps: (), steps taken, in double.

    Returns:
        (), the weight, in double.
    """
    return 1 - ((1 + num_steps) / (10 + num_steps)).clamp(max=decay)


class FlatParameters:
    """Parameters, first and second moments and, if kept, averages, as the rows of one tensor.

    The parameters, and the tensors of optimizer and averages, become views of it, so that they stay current.

    Args:
        parameters: by name, all of one floating-point type, on the CPU.
        optimizer: a `torch.optim.Adam` or `AdamW` over them in one group, with its state made.
        averages: exponential moving averages by name, or None.
        decay: of the averages, or None.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        averages: dict[str, Tensor] | None,
        decay: float | None,
    ) -> None:
        self.parameters, self.averages, self.decay = list(parameters.values()), averages, decay
        self.group = optimizer.param_groups[0]
        self._decoupled = self.group.get("decoupled_weight_decay", type(optimizer) is torch.optim.AdamW)
        self._adam_states: list[dict[str, Tensor]] = [optimizer.state[p] for p in self.parameters]
        rows: list[list[Tensor]] = [[p.detach() for p in self.parameters]]
        rows += [[state[name] for state in self._adam_states] for name in ("exp_avg", "exp_avg_sq")]
        if averages is not None:
            rows.append([averages[name] for name in parameters])
        self.state = torch.stack([torch.cat([tensor.reshape(-1) for tensor in row]) for row in rows])
        self.num_steps, self.lr = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        self.num_steps_value, self._lr_value = 0, 0.0  # of the two tensors, so that these need not be read
        values, first, second, *average = (self.split(row) for row in self.state)
        for parameter, view in zip(self.parameters, values, strict=True):
            parameter.data = view
        for state, *views in zip(self._adam_states, first, second, strict=True):
            state["exp_avg"], state["exp_avg_sq"] = views
        if averages is not None:
            averages.update(zip(parameters, average[0], strict=True))
        self._pointers = [p.data_ptr() for p in self.parameters]
        self._options = self._group_options()

    def _group_options(self) -> tuple[Any, ...]:
        return (self.group["betas"], self.group["eps"], self.group["weight_decay"])

    @property
    def is_valid(self) -> bool:
        """Whether the parameters are still views of the state, and the optimizer's options unchanged."""
        return self._options == self._group_options() and self._pointers == [p.data_ptr() for p in self.parameters]

    def split(self, row: Tensor) -> list[Tensor]:
        """A row as tensors of the parameters' shapes.

        Args:
            row: (P,), for P numbers in all parameters.

        Returns:
            A view for each parameter.
        """
        parts = row.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def release(self) -> None:
        """Give parameters, moments and averages storage of their own again."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
        for state in self._adam_states:
            state["exp_avg"], state["exp_avg_sq"] = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
        if self.averages is not None:
            self.averages.update({name: value.clone() for name, value in self.averages.items()})

    def write_step_count(self, num_steps: int) -> None:
        """Write the number of steps into the state of torch's optimizer.

        Args:
            num_steps: steps taken.
        """
        for state in self._adam_states:
            state["step"].fill_(num_steps)

    def read_options(self, num_steps: int) -> None:
        """Write the number of steps and the optimizer's learning rate into the tensors that a compiled step reads.

        Args:
            num_steps: steps taken.
        """
        if self.num_steps_value != num_steps:
            self.num_steps_value = num_steps
            self.num_steps.fill_(num_steps)
        if self._lr_value != self.group["lr"]:
            self._lr_value = self.group["lr"]
            self.lr.fill_(self._lr_value)

    def adam_update(
        self,
        gradient: Tensor,
        is_finite: Tensor,
        clip_norm: float | None,
        state: Tensor,
        num_steps: Tensor,
        lr: Tensor,
    ) -> Tensor:
        """The state after a step of Adam (Kingma and Ba 2015, arXiv:1412.6980), as tensor operations alone.

        Args:
            gradient: (P,), of all parameters.
            is_finite: () bool, whether to take the step; where not, the state is returned as it is.
            clip_norm: largest norm of the gradient; None does not clip.
            state: (3 or 4, P), before the step.
            num_steps: (), steps taken before, in double.
            lr: (), the learning rate, in double.

        Returns:
            The state, of the same shape.
        """
        p, first, second, *average = state.unbind(0)
        (b1, b2), eps, weight_decay = self._options
        if clip_norm is not None:
            gradient = gradient * (clip_norm / (gradient.norm() + 1e-6)).clamp(max=1.0)
        if weight_decay and self._decoupled:
            p = p * (1 - lr * weight_decay).to(p.dtype)
        elif weight_decay:
            gradient = gradient + weight_decay * p
        num_steps = num_steps + 1
        first = first + (1 - b1) * (gradient - first)
        second = b2 * second + (1 - b2) * gradient * gradient
        step_size = (lr / -torch.expm1(num_steps * math.log(b1))).to(p.dtype)
        denominator = second.sqrt() / (-torch.expm1(num_steps * math.log(b2))).sqrt().to(p.dtype) + eps
        p = p - step_size * first / denominator
        rows = [p, first, second]
        if average:
            assert self.decay is not None
            rows.append(average[0] + average_weight(self.decay, num_steps).to(p.dtype) * (p - average[0]))
        return torch.where(is_finite, torch.stack(rows), state)
