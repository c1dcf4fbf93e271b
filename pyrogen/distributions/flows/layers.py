"""Layers of flows without networks: chains, normalization of activations, and reorderings."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pyrogen.distributions.flows.bijections import Bijection, ValueAndLogDet
from pyrogen.nn import flatten


class Chain(Bijection):
    """Bijections one after another, `parts` in their order from x to z."""

    def __init__(self, parts: Iterable[Bijection]) -> None:
        listed = list(parts)
        super().__init__(listed[0].event_shape, listed[-1].base_shape)
        self.parts = nn.ModuleList(listed)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""
        total = x.new_zeros(())
        for part in self.parts:
            x, log_det = part.to_base(x, context)  # type: ignore[operator]
            total = total + log_det
        return x, total

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        total = z.new_zeros(())
        for part in reversed(self.parts):
            z, log_det = part.to_data(z, context)  # type: ignore[operator]
            total = total + log_det
        return z, total

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Initialize every part from the outputs of the parts before it."""
        for part in self.parts:
            x = part.prepare(x, context)  # type: ignore[operator]
        return x


class Actnorm(Bijection):
    """z = exp(s) (x + m), one s and m for each feature or channel, initialized so that z has mean 0 and variance 1.

    A feature that does not vary starts with s = 0. Events are (features,) or (channels, height, width).

    References:
        Kingma, Dhariwal 2018, arXiv:1807.03039.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(event_shape)
        shape = (event_shape[0], *(1 for _ in event_shape[1:]))
        self.shift, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""
        return (x + self.shift) * self.log_scale.exp(), self._log_det()

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        return z * (-self.log_scale).exp() - self.shift, -self._log_det()

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Set m and s from the data's mean and standard deviation."""
        rows = x.reshape(-1, *self.event_shape).transpose(0, 1).flatten(1)
        shape, mean, scale = self.shift.shape, rows.mean(1), rows.std(1, correction=0)
        # A constant feature has rounding errors only, which every further layer would amplify.
        varies = scale > torch.finfo(scale.dtype).eps * mean.abs().clamp(min=1)
        self.shift.copy_(-mean.reshape(shape))
        self.log_scale.copy_(-torch.where(varies, scale, 1.0).log().reshape(shape))
        return super().prepare(x, context)

    def _log_det(self) -> Tensor:
        return self.log_scale.sum() * math.prod(self.event_shape[1:])


class Flatten(Bijection):
    """z is x as a vector."""

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(event_shape, (math.prod(event_shape),))

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and 0."""
        return flatten(x, self.event_shape, "a flow"), x.new_zeros(())

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and 0."""
        return z.reshape((*z.shape[:-1], *self.event_shape)), z.new_zeros(())


class Reorder(Bijection):
    """z is x with its features in the order of the indices `order`."""

    def __init__(self, order: Tensor) -> None:
        super().__init__((len(order),))
        self.order: Tensor
        self.back: Tensor
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and 0."""
        return x.index_select(-1, self.order), x.new_zeros(())

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and 0."""
        return z.index_select(-1, self.back), z.new_zeros(())
