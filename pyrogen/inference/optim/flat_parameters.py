"""Small models: parameters and Adam's moments side by side in one tensor, so that a whole step is one compiled call.

On a small model a step is bound by the number of calls and tensors, not by arithmetic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

if TYPE_CHECKING:
    from pyrogen.inference.optim.optimizer import Optimization

__all__ = ["LARGEST", "FlatParameters"]

LARGEST = 50_000
"""Parameters of the largest model that is packed; above, torch's fused optimizer is faster than a compiled one."""


class FlatParameters:
    """Parameters, first and second moments and, if kept, averages, as the rows of one tensor.

    The story's parameters, and the optimizer's and averages' tensors, become views of it: all of them stay true.

    Args:
        optimization: what is trained and how; `FlatParameters.serves` says whether it can be packed.
    """

    def __init__(self, optimization: Optimization) -> None:
        self.optimization = optimization
        optimizer: Any = optimization.optimizer
        self.group = optimizer.param_groups[0]
        self.parameters = list(optimization.parameters.values())
        self.moments = [optimizer.state[p] for p in self.parameters]
        rows: list[list[Tensor]] = [[p.detach() for p in self.parameters]]
        rows += [[moment[name] for moment in self.moments] for name in ("exp_avg", "exp_avg_sq")]
        if optimization.average is not None:
            rows.append([optimization.average[name] for name in optimization.parameters])
        self.state = torch.stack([torch.cat([tensor.reshape(-1) for tensor in row]) for row in rows])
        self.count, self.rate = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        self.counted, self.rated = 0, 0.0  # what the two hold, known without a look at them
        self._lay_out()
        self.places = [p.data_ptr() for p in self.parameters]
        self.options = self._options()

    def _options(self) -> tuple[Any, ...]:
        group = self.group
        return (group["betas"], group["eps"], group["weight_decay"])

    @property
    def holds(self) -> bool:
        """Whether the parameters still are views of the state, and the optimizer's options what they were."""
        return self.options == self._options() and self.places == list(map(Tensor.data_ptr, self.parameters))

    @staticmethod
    def serves(optimization: Optimization) -> bool:
        """Whether the optimizer is a plain Adam or AdamW over one group of not too many parameters of one kind."""
        optimizer: Any = optimization.optimizer
        parameters = list(optimization.parameters.values())
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or len(optimizer.param_groups) != 1:
            return False
        group = optimizer.param_groups[0]
        plain = not (group["amsgrad"] or group["maximize"]) and isinstance(group["lr"], float | int)
        kinds = {(p.dtype, p.device) for p in parameters}
        small = sum(p.numel() for p in parameters) <= LARGEST and len(kinds) == 1
        on_cpu = all(p.device.type == "cpu" and p.is_floating_point() for p in parameters)
        steps = {float(optimizer.state[p].get("step", -1.0)) if p in optimizer.state else -1.0 for p in parameters}
        turning = isinstance(optimization.schedule, OneCycleLR | CyclicLR)  # they turn more than the rate
        return plain and small and on_cpu and steps == {float(optimization.taken)} and not turning

    def _lay_out(self) -> None:
        """Make the tensors that others hold views of the state."""
        views = [self.split(row) for row in self.state]
        for parameter, view in zip(self.parameters, views[0], strict=True):
            parameter.data = view
        for moment, first, second in zip(self.moments, views[1], views[2], strict=True):
            moment["exp_avg"], moment["exp_avg_sq"] = first, second
        average = self.optimization.average
        if average is not None:
            average.update(zip(self.optimization.parameters, views[3], strict=True))

    def split(self, row: Tensor) -> list[Tensor]:
        """A row as tensors of the parameters' shapes."""
        pieces = row.split([p.numel() for p in self.parameters])
        return [piece.view(p.shape) for piece, p in zip(pieces, self.parameters, strict=True)]

    def release(self) -> None:
        """Give the parameters, moments and averages storage of their own again."""
        self.sync()
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
        for moment in self.moments:
            moment["exp_avg"], moment["exp_avg_sq"] = moment["exp_avg"].clone(), moment["exp_avg_sq"].clone()
        average = self.optimization.average
        if average is not None:
            average.update({name: value.clone() for name, value in average.items()})

    def sync(self) -> None:
        """Tell torch's optimizer how many steps were taken."""
        for moment in self.moments:
            moment["step"].fill_(self.optimization.taken)

    def bring_up(self) -> None:
        """Bring count and rate up to where the optimizer stands."""
        if self.counted != self.optimization.taken:
            self.counted = self.optimization.taken
            self.count.fill_(self.counted)
        if self.rated != self.group["lr"]:
            self.rated = self.group["lr"]
            self.rate.fill_(self.rated)

    def moved(self, gradient: Tensor, fine: Tensor, clip: float | None, state: Tensor, *live: Tensor) -> Tensor:
        """The state after a step of Adam (Kingma and Ba 2015, arXiv:1412.6980), as tensor operations alone.

        Args:
            gradient: of all parameters, flat.
            fine: whether to take the step; if not, the state is as before.
            clip: largest norm of the gradient.
            state: before.
            live: `count` and `rate` before, in double.
        """
        count, rate = live
        p, first, second, *average = state.unbind(0)
        (b1, b2), eps, decay = self.group["betas"], self.group["eps"], self.group["weight_decay"]
        if clip is not None:
            gradient = gradient * (clip / (gradient.norm() + 1e-6)).clamp(max=1.0)
        decoupled = self.group.get("decoupled_weight_decay", type(self.optimization.optimizer) is torch.optim.AdamW)
        if decay and decoupled:
            p = p * (1 - rate * decay).to(p.dtype)
        elif decay:
            gradient = gradient + decay * p
        count = count + 1
        first = first + (1 - b1) * (gradient - first)
        second = b2 * second + (1 - b2) * gradient * gradient
        size = (rate / -torch.expm1(count * math.log(b1))).to(p.dtype)
        unbiased = second.sqrt() / (-torch.expm1(count * math.log(b2))).sqrt().to(p.dtype)
        p = p - size * first / (unbiased + eps)
        rows = [p, first, second]
        if average:
            weight = self.optimization.average_weight(count).to(p.dtype)
            rows.append(average[0] + weight * (p - average[0]))
        return torch.where(fine, torch.stack(rows), state)
