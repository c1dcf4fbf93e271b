"""Event shapes and the batch dimensions in front of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

Shape = int | Sequence[int]
"""An event shape as an argument: `784` is short for `(784,)`, `()` is a scalar, and lists are accepted."""


def as_shape(value: Shape) -> tuple[int, ...]:
    """Convert an event shape to a tuple.

    Args:
        value: one positive size, or a sequence of them.

    Returns:
        The sizes.

    Raises:
        ValueError: `value` is neither a positive whole number nor a sequence of them.

    Example:
        >>> as_shape(784), as_shape([1, 28, 28])
        ((784,), (1, 28, 28))
    """
    sizes: object = (value,) if isinstance(value, int) else value
    if (
        isinstance(sizes, Sequence)
        and not isinstance(sizes, str | bytes)
        and all(type(size) is int and size > 0 for size in sizes)
    ):
        return tuple(sizes)
    shown = f"a {type(value).__name__}" if hasattr(value, "dtype") else repr(value)
    raise ValueError(f"a shape is a positive whole number or a tuple of them, such as (1, 28, 28); got {shown}")


def image_shape(value: Shape, name: str, remedy: str) -> tuple[int, ...]:
    """Convert the event shape of an image to a tuple.

    Args:
        value: (channels, height, width).
        name: of the network that takes or gives the image, for the error message.
        remedy: what to do with other shapes, for the error message.

    Returns:
        The shape (channels, height, width).

    Raises:
        ValueError: `value` has another number of dimensions.

    Example:
        >>> image_shape([1, 28, 28], "ConvEncoder", "use Dense")
        (1, 28, 28)
    """
    shape = as_shape(value)
    if len(shape) != 3:
        raise ValueError(f"{name} is for images of shape (channels, height, width), got {shape}: {remedy}")
    return shape


def batch_shape(x: Tensor, event_shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Split off the event dimensions of a tensor.

    Args:
        x: tensor of shape (..., *event_shape).
        event_shape: expected sizes of the last dimensions.
        name: of the network or story that takes `x`, for the error message.

    Returns:
        The sizes in front of the event dimensions.

    Raises:
        ValueError: the shape of `x` does not end in `event_shape`.

    Example:
        >>> import torch
        >>> batch_shape(torch.zeros(5, 4, 1, 8, 8), (1, 8, 8), "PCA")
        (5, 4)
    """
    split = x.dim() - len(event_shape)
    if split < 0 or tuple(x.shape[split:]) != event_shape:
        expected = ", ".join(["...", *map(str, event_shape)])
        raise ValueError(f"{name} takes tensors of shape ({expected}), got {tuple(x.shape)}")
    return tuple(x.shape[:split])


def flatten(x: Tensor, event_shape: tuple[int, ...], name: str) -> Tensor:
    """Flatten the event dimensions of a tensor; a shape that does not end in `event_shape` is a ValueError.

    Args:
        x: tensor of shape (..., *event_shape).
        event_shape: expected sizes of the last dimensions.
        name: of the network or story that takes `x`, for the error message.

    Returns:
        Events as vectors, shape (..., product of the event shape).

    Example:
        >>> import torch
        >>> flatten(torch.zeros(5, 4, 1, 8, 8), (1, 8, 8), "PCA").shape
        torch.Size([5, 4, 64])
    """
    return x.reshape((*batch_shape(x, event_shape, name), math.prod(event_shape)))


def flatten_batch(
    network: Callable[[Tensor], Tensor], x: Tensor, event_shape: tuple[int, ...], name: str | None = None
) -> Tensor:
    """Apply a network that takes exactly one batch dimension, as `nn.Conv2d` does, to any number of them.

    Args:
        network: function from (batch, *event_shape) to (batch, ...).
        x: tensor of shape (..., *event_shape).
        event_shape: expected sizes of the last dimensions of `x`.
        name: of the network, for the error message; the name of its class by default.

    Returns:
        The network's outputs, with the batch dimensions of `x` in front.

    Example:
        >>> import torch
        >>> flatten_batch(torch.nn.Conv2d(1, 2, 3), torch.zeros(5, 4, 1, 8, 8), (1, 8, 8)).shape
        torch.Size([5, 4, 2, 6, 6])
    """
    lead = batch_shape(x, event_shape, name or type(network).__name__)
    if len(lead) == 1:
        return network(x)
    out = network(x.reshape((math.prod(lead), *event_shape)))
    return out.reshape((*lead, *out.shape[1:]))
