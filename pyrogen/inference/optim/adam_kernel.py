"""torch's fused Adam by its kernel alone, for short runs and small models.

`torch.optim.Optimizer` imports torch's compiler front end, which takes a second, when it is made and when it steps, and
a step spends more time around its kernel than in it. Here the same kernel changes the same state.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

_MARK = "__dynamo_disable"
"""Where torch keeps a method as its compiler front end has wrapped it, which it imports where there is none."""


@contextmanager
def without_compiler_import() -> Iterator[None]:
    """Let torch's optimizers be made, saved and loaded without the import of torch's compiler front end.

    Yields:
        None.
    """
    methods = [torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.state_dict]
    methods += [torch.optim.Optimizer.load_state_dict]
    with ExitStack() as stack:
        for method in () if "torch._dynamo" in sys.modules else methods:
            function: Any = getattr(method, "__wrapped__", None)
            if function is not None and _MARK not in vars(function):
                setattr(function, _MARK, function)
                stack.callback(delattr, function, _MARK)
        yield


class AdamKernel:
    """Steps of a fused `torch.optim.Adam` or `AdamW` over one group of parameters, with the bits of its own.

    Args:
        optimizer: the optimizer, whose state it shares; `suits` it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self.group: dict[str, Any] = optimizer.param_groups[0]
        self.parameters: list[Tensor] = list(self.group["params"])
        decoupled = self.group.get("decoupled_weight_decay", type(optimizer) is torch.optim.AdamW)
        self._update = torch._fused_adamw_ if decoupled else torch._fused_adam_
        states = [optimizer.state[p] for p in self.parameters]
        for parameter, state in zip(self.parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        self._first, self._second, self._steps = ([s[key] for s in states] for key in ("exp_avg", "exp_avg_sq", "step"))

    @staticmethod
    def suits(optimizer: torch.optim.Optimizer) -> bool:
        """Whether a step of an optimizer is that of the kernel alone.

        Args:
            optimizer: any.

        Returns:
            True for a fused Adam or AdamW without hooks, with a number as its rate, over one group of alike parameters.
        """
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or len(optimizer.param_groups) != 1:
            return False
        group: dict[str, Any] = optimizer.param_groups[0]
        plain = group["fused"] and not (group["amsgrad"] or group["maximize"] or group["capturable"])
        numbers = all(isinstance(value, float | int) for value in (group["lr"], *group["betas"]))
        hooks = [getattr(torch_optimizer, f"_global_optimizer_{when}_hooks", {}) for when in ("pre", "post")]
        hooks += [getattr(optimizer, f"_optimizer_step_{when}_hooks", {}) for when in ("pre", "post")]
        parameters: list[Tensor] = group["params"]
        alike = len({(p.device, p.dtype) for p in parameters}) == 1 and not any(map(torch.is_complex, parameters))
        return bool(plain and numbers and alike and not group["differentiable"] and not any(hooks))

    def is_current(self) -> bool:
        """Look whether the optimizer's state is what it was.

        Returns:
            False where its tensors, or the group's parameters, are others, or a rate is no number.
        """
        group, state = self._optimizer.param_groups[0], self._optimizer.state
        if group is not self.group or len(group["params"]) != len(self.parameters):
            return False
        ends = (0, -1) if self.parameters else ()
        kept = all(state[self.parameters[i]].get("exp_avg") is self._first[i] for i in ends)
        return kept and isinstance(group["lr"], float | int)

    def step(self) -> bool:
        """Move the parameters by their gradients.

        Returns:
            Whether it has; not where a parameter has no gradient, or a sparse one.
        """
        gradients = [parameter.grad for parameter in self.parameters]
        if any(gradient is None or gradient.layout != torch.strided for gradient in gradients):
            return False
        beta1, beta2 = self.group["betas"]
        with torch.no_grad():
            torch._foreach_add_(self._steps, 1)
            self._update(
                self.parameters,
                gradients,  # type: ignore[arg-type]
                self._first,
                self._second,
                [],
                self._steps,
                amsgrad=False,
                lr=self.group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=self.group["weight_decay"],
                eps=self.group["eps"],
                maximize=False,
                grad_scale=None,
                found_inf=None,
            )
        return True
