"""Event shapes, and the leading dimensions in front of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["Shape", "as_shape", "batch_shape", "flatten", "flatten_batch"]

Shape = int | Sequence[int]
"""How an event shape may be given: `784` is short for `(784,)`, `()` is one number, and lists will do."""


def as_shape(value: Shape) -> tuple[int, ...]:
    """The event shape as a tuple.

    Raises:
        ValueError: not a positive whole number or several of them.

    Example:
        >>> as_shape(784), as_shape([1, 28, 28])
        ((784,), (1, 28, 28))
    """
    sizes: object = (value,) if isinstance(value, int) else value
    if isinstance(sizes, Sequence) and all(_is_size(size) for size in sizes):
        return tuple(sizes)
    raise ValueError(f"a shape is a positive whole number or a tuple of them, such as (1, 28, 28); got {value!r}")


def batch_shape(x: Tensor, event_shape: tuple[int, ...], who: str) -> tuple[int, ...]:
    """The sizes in front of the event dimensions.

    Args:
        x: (..., *event_shape).
        event_shape: what the last dimensions must be.
        who: whose input it is, for the message.

    Raises:
        ValueError: `x` does not end in `event_shape`.
    """
    split = x.dim() - len(event_shape)
    if split < 0 or tuple(x.shape[split:]) != event_shape:
        expected = ", ".join(["...", *map(str, event_shape)])
        raise ValueError(f"{who} takes tensors of shape ({expected}), got {tuple(x.shape)}")
    return tuple(x.shape[:split])


def flatten(x: Tensor, event_shape: tuple[int, ...], who: str) -> Tensor:
    """Events as vectors: (..., *event_shape) -> (..., features).

    Args:
        x: (..., *event_shape).
        event_shape: what the last dimensions must be.
        who: whose input it is, for the message.

    Raises:
        ValueError: `x` does not end in `event_shape`.

    Example:
        >>> import torch
        >>> flatten(torch.zeros(5, 4, 1, 8, 8), (1, 8, 8), "PCA").shape
        torch.Size([5, 4, 64])
    """
    return x.reshape((*batch_shape(x, event_shape, who), math.prod(event_shape)))


def flatten_batch(network: Callable[[Tensor], Tensor], x: Tensor, event_shape: tuple[int, ...]) -> Tensor:
    """`network(x)` for a network that takes exactly one dimension in front of the event, as `nn.Conv2d` does.

    Args:
        network: from (batch, *event_shape) to (batch, ...).
        x: (..., *event_shape), any leading dimensions.
        event_shape: of `x`.

    Returns:
        The network's outputs behind the same leading dimensions.

    Example:
        >>> import torch
        >>> flatten_batch(torch.nn.Conv2d(1, 2, 3), torch.zeros(5, 4, 1, 8, 8), (1, 8, 8)).shape
        torch.Size([5, 4, 2, 6, 6])
    """
    lead = batch_shape(x, event_shape, type(network).__name__)
    if len(lead) == 1:
        return network(x)
    out = network(x.reshape((math.prod(lead), *event_shape)))
    return out.reshape((*lead, *out.shape[1:]))


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0
