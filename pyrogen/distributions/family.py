"""What a likelihood and a posterior have in common: a network's outputs choose a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrogen.nn import batch_shape

__all__ = ["Family", "promote_outputs", "stacked_shape", "unstack", "without_autocast"]


class Family(ABC):
    """A family of distributions, one of which is chosen by the outputs of a network: p(. given outputs).

    A family without parameters is a frozen dataclass; one with parameters, such as a flow, is also an `nn.Module` and a
    `dataclass(eq=False)`, written `class Flow(nn.Module, Family)` with `forward` in place of `__call__`. In both, the
    fields are numbers, strings and tuples, from which a run folder can build it again.
    """

    sequential_log_prob: ClassVar[bool] = False
    """Whether only what was just drawn can be scored in one pass, as with flows that are made for drawing."""
    integer: ClassVar[bool] = False
    """Whether events are whole numbers, int64."""

    @abstractmethod
    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the outputs that the network must give for events of `event_shape`."""

    @abstractmethod
    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> TorchDistribution:
        """The distribution that `outputs` (..., *size(event_shape)) stand for, of batch shape (...)."""

    def point(self, distribution: TorchDistribution) -> Tensor:
        """The one value that stands for `distribution`: its mean, unless the family knows better."""
        mean: Tensor = distribution.mean
        return mean

    def check(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Raise a one-line ValueError if the family gives some of `x` no density."""

    def prepare(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Start from the training data `x`, before the first step."""


def stacked_shape(parts: int, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `parts` tensors of `event_shape` behind each other along its first dimension, as channels are.

    Example:
        >>> stacked_shape(2, (3, 32, 32)), stacked_shape(2, (10,)), stacked_shape(2, ())
        ((6, 32, 32), (20,), (2,))
    """
    first, *rest = event_shape or (1,)
    return (parts * first, *rest) if parts > 1 else event_shape


def unstack(outputs: Tensor, parts: int, event_shape: tuple[int, ...], who: str) -> tuple[Tensor, ...]:
    """The `parts` tensors (..., *event_shape) in `outputs`, (..., *stacked_shape(parts, event_shape)), in float32 or better.

    Raises:
        ValueError: the outputs have another shape.
    """
    outputs, lead = promote_outputs(outputs, stacked_shape(parts, event_shape), f"{who} over {event_shape}")
    return outputs.reshape((*lead, parts, *event_shape)).unbind(len(lead))


def promote_outputs(outputs: Tensor, size: tuple[int, ...], who: str) -> tuple[Tensor, tuple[int, ...]]:
    """A network's outputs (..., *size) in float32 or better, and their leading dimensions.

    Under autocast networks give bfloat16, in which log densities would be off by whole nats.

    Raises:
        ValueError: the outputs have another shape.
    """
    lead = batch_shape(outputs, size, f"{who} (does the network end in nn.Unflatten(-1, {size})?)")
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32)), lead


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Products where `tensor` is in their own precision: in bfloat16 means are off by their third digit.

    Devices that have no autocast, such as meta, are passed by.
    """
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
