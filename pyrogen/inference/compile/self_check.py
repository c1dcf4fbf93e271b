"""The self-check of compiled steps: their loss and gradients are compared with those of an eager step."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.compile.compiled_step import Compilable, preserve_training_state
from pyrogen.inference.compile.fused_step import RecordedStep
from pyrogen.story import Batch

MAX_STEPS_BETWEEN_CHECKS = 10_000

LossAndGradients = tuple[Tensor, list[Tensor]]


class CheckSchedule:
    """When a compiled step is checked: at its 3rd, 9th, 27th, ... use, then every 10,000 uses."""

    def __init__(self) -> None:
        self.uses, self.next = 0, 3

    def is_due(self) -> bool:
        """Count a use.

        Returns:
            Whether it is to be checked.
        """
        self.uses += 1
        if self.uses < self.next:
            return False
        self.next = min(3 * self.next, self.next + MAX_STEPS_BETWEEN_CHECKS)
        return True

    @property
    def uses_until_next(self) -> int:
        """Uses before the next check."""
        return self.next - self.uses - 1


def difference_between(step: Compilable, compiled: RecordedStep, batch: Batch) -> str | None:
    """How loss or gradients of a compiled step differ from those of an eager one with the same noise.

    They agree where the loss does to a relative error of 1e-5 and every gradient to one of 1e-4 in norm (1e-2 and 1e-1
    in bfloat16). Where large terms cancel, the compiler's rounding differs by more: then the traced operations, run one
    by one, must agree to that, and the compiled ones to 1e-2 and 1e-1, or to the rounding error of the eager ones.
    Nothing is changed.

    Args:
        step: the eager steps.
        compiled: the compiled step.
        batch: on which they are compared.

    Returns:
        The first difference, in words; None where they agree.
    """
    with preserve_training_state(step):
        expected = step.loss_and_gradients(materialize(batch))
    with preserve_training_state(step):
        actual = compiled.loss_and_gradients(batch)
    tolerance = 1e-2 if step.autocast else 1e-5
    difference = _first_difference(step, actual, expected, tolerance)
    if difference is None:
        return None
    with preserve_training_state(step), torch.no_grad():
        loss, *gradients = compiled.graph(*compiled.signature.tensors(batch))
    if _first_difference(step, (loss, gradients), expected, tolerance) is None:
        return _first_difference(step, actual, expected, 1e-2, _rounding_errors(step, batch, expected))
    return difference


def _rounding_errors(step: Compilable, batch: Batch, expected: LossAndGradients) -> list[float]:
    """For each gradient, the norm by which rounding alone may change it."""
    # Ten times the change when every parameter is changed in its last digit. Measured on a hierarchical VAE of three
    # layers, the compiler's rounding is one to two times that change.
    with preserve_training_state(step):
        with torch.no_grad():
            for parameter in step.optimization.parameters.values():
                last_digit = torch.finfo(parameter.dtype).eps
                signs = 1 - 2 * (torch.arange(parameter.numel(), device=parameter.device) % 2)
                parameter.mul_(1 + last_digit * signs.reshape(parameter.shape))
        _, perturbed = step.loss_and_gradients(materialize(batch))
    return [10 * float((one - other).norm()) for one, other in zip(perturbed, expected[1], strict=True)]


def _first_difference(
    step: Compilable,
    actual: LossAndGradients,
    expected: LossAndGradients,
    tolerance: float,
    rounding_errors: list[float] | None = None,
) -> str | None:
    """The first value that is off: the loss by more than `tolerance`, a gradient by 10 times that, relatively."""
    (loss, gradients), (expected_loss, expected_gradients) = actual, expected
    if not torch.isfinite(loss) and not torch.isfinite(expected_loss):
        return None
    if not abs(float(loss) - float(expected_loss)) <= tolerance * max(1.0, abs(float(expected_loss))):
        return f"the loss is {float(loss):.7g}, expected {float(expected_loss):.7g}"
    # A millionth of the largest gradient counts as rounding.
    floor = 1e-6 * max((float(gradient.norm()) for gradient in expected_gradients), default=0.0)
    allowed = rounding_errors or [0.0] * len(gradients)
    names = step.optimization.parameters
    for name, one, other, rounding in zip(names, gradients, expected_gradients, allowed, strict=True):
        gap, size = float((one - other).norm()), float(other.norm())
        finite = torch.isfinite(one).all() or torch.isfinite(other).all()
        if not gap <= 10 * tolerance * size + floor + rounding and finite:
            return f"the gradient of '{name}', of norm {size:.3g}, is off by {gap:.3g}"
    return None
