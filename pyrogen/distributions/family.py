"""What a likelihood and a posterior have in common: the outputs of a network choose a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrogen.nn import batch_shape


class Family(ABC):
    """A family of distributions, one of which is chosen by the outputs of a network: p(. | outputs).

    A family without parameters is a frozen dataclass. One with parameters, such as a flow, is also an `nn.Module` and a
    `dataclass(eq=False)`, written `class Flow(nn.Module, Family)` with `forward` in place of `__call__`. In both, the
    fields are numbers, strings and tuples, from which a run folder can build it again.
    """

    sequential_log_prob: ClassVar[bool] = False
    """Whether the density of values other than its own last draw takes one pass for each element of an event."""
    integer: ClassVar[bool] = False
    """Whether events are whole numbers, int64."""

    @property
    def params_per_element(self) -> int:
        """How many numbers the network gives for each element of an event."""
        return 1

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the outputs that the network must give.

        Args:
            event_shape: shape of one event.

        Returns:
            `stacked_shape(params_per_element, event_shape)`, unless the family overrides it.
        """
        return stacked_shape(self.params_per_element, event_shape)

    @abstractmethod
    def __call__(self, outputs: Tensor, event_shape: tuple[int, ...]) -> TorchDistribution:
        """The distribution p(. | outputs).

        Args:
            outputs: of the network, (..., *size(event_shape)).
            event_shape: shape of one event.

        Returns:
            A distribution of batch shape (...) and event shape `event_shape`.
        """

    def point(self, distribution: TorchDistribution) -> Tensor:
        """The one value that represents a distribution of the family: its mean, unless the family overrides it.

        Args:
            distribution: one that the family made.

        Returns:
            A tensor (*batch_shape, *event_shape).
        """
        return distribution.mean

    def check(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Check that every datum has a density; by default nothing is checked.

        Args:
            x: data (n, *event_shape).
        """

    def prepare(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Initialize parameters from the training data, before the first step; by default nothing is done.

        Args:
            x: training data (n, *event_shape).
        """


def stacked_shape(parts: int, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of several tensors of one event shape, concatenated along its first dimension, as channels are.

    Args:
        parts: number of tensors.
        event_shape: shape of each; `()` counts as (1,) where there are several.

    Returns:
        The shape of the concatenation.

    Example:
        >>> stacked_shape(2, (3, 32, 32)), stacked_shape(2, (10,)), stacked_shape(2, ())
        ((6, 32, 32), (20,), (2,))
    """
    first, *rest = event_shape or (1,)
    return (parts * first, *rest) if parts > 1 else event_shape


def unstack(outputs: Tensor, parts: int, event_shape: tuple[int, ...], name: str) -> tuple[Tensor, ...]:
    """Split a network's outputs into tensors of one event shape, in float32 or better.

    Args:
        outputs: (..., *stacked_shape(parts, event_shape)).
        parts: number of tensors.
        event_shape: shape of each.
        name: of the family, for the error message.

    Returns:
        `parts` tensors (..., *event_shape); outputs of another shape are a ValueError.
    """
    outputs, lead = promote_outputs(outputs, stacked_shape(parts, event_shape), f"{name} over {event_shape}")
    return outputs.reshape((*lead, parts, *event_shape)).unbind(len(lead))


def promote_outputs(outputs: Tensor, size: tuple[int, ...], name: str) -> tuple[Tensor, tuple[int, ...]]:
    """Check the shape of a network's outputs and convert them to float32 or better.

    Under autocast networks give bfloat16, in which log densities would be off by whole nats.

    Args:
        outputs: (..., *size).
        size: event shape that is expected.
        name: of the family, for the error message.

    Returns:
        The outputs, and their leading dimensions; outputs of another shape are a ValueError.
    """
    lead = batch_shape(outputs, size, f"{name} (does the network end in nn.Unflatten(-1, {size})?)")
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32)), lead


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Switch autocast off on a tensor's device: in bfloat16 the digits of means and log densities are lost.

    Args:
        tensor: one on the device that computes; devices without autocast, such as meta, are accepted.

    Returns:
        A context manager.
    """
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def check_positive(component: Any, *names: str) -> None:
    """Check that numbers which a component was built with are positive.

    Args:
        component: a family, a prior or a map.
        names: of its fields; those that are None are skipped.

    Raises:
        ValueError: one of them is not positive.
    """
    for name in names:
        value = getattr(component, name)
        if value is not None and not value > 0:
            raise ValueError(f"{type(component).__name__} needs a positive {name}, got {name}={value!r}")
