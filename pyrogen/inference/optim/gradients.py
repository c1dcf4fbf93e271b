"""Gradients as optimizers take them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def set_gradients(parameters: Iterable[Tensor], gradients: Iterable[Tensor | None]) -> None:
    """Put gradients into their parameters' `grad`, each in memory of its own, laid out as that of its parameter.

    torch's fused optimizers take the numbers of a gradient in the order of its memory, whatever its strides, and
    clipping writes to it; a gradient of `torch.autograd.grad` may be a transposed or expanded view, or another
    parameter's as well.

    Args:
        parameters: what is trained.
        gradients: of the same shapes, one for each, or None.
    """
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and gradient.layout == torch.strided:
            if gradient.stride() != parameter.stride() or gradient.data_ptr() in taken:
                gradient = torch.empty_like(parameter, dtype=gradient.dtype).copy_(gradient)
            taken.add(gradient.data_ptr())
        parameter.grad = gradient
