"""Layers of flows without networks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pyrogen.distributions.flows.bijections import Bijection, ValueAndLogDet
from pyrogen.nn import flatten


class Chain(Bijection):
    """Bijections one after another.

    Args:
        parts: the bijections in their order from x to z, at least one.
    """

    def __init__(self, parts: Iterable[Bijection]) -> None:
        listed = list(parts)
        super().__init__(listed[0].event_shape, listed[-1].base_shape)
        self.parts = nn.ModuleList(listed)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The parts' inverses, from the first to the last.

        Args:
            x: (..., *event_shape).
            context: (..., context), of the same leading dimensions, or None.

        Returns:
            z (..., *base_shape) and the sum of the parts' log |det dz/dx|.
        """
        total = x.new_zeros(())
        for part in self.parts:
            x, log_det = part.to_base(x, context)  # type: ignore[operator]
            total = total + log_det
        return x, total

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The parts' maps, from the last to the first.

        Args:
            z: (..., *base_shape).
            context: (..., context), of the same leading dimensions, or None.

        Returns:
            x (..., *event_shape) and the sum of the parts' log |det dx/dz|.
        """
        total = z.new_zeros(())
        for part in reversed(self.parts):
            z, log_det = part.to_data(z, context)  # type: ignore[operator]
            total = total + log_det
        return z, total

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Initialize every part from the outputs of the parts before it.

        Args:
            x: training data (n, *event_shape).
            context: their contexts (n, context), or None.

        Returns:
            z (n, *base_shape).
        """
        for part in self.parts:
            x = part.prepare(x, context)  # type: ignore[operator]
        return x


class Actnorm(Bijection):
    """z = exp(s) (x + m), one s and m for each feature or channel, initialized so that z has mean 0 and variance 1.

    A feature that does not vary starts with s = 0.

    Args:
        event_shape: (features,) or (channels, height, width).

    References:
        Kingma, Dhariwal 2018, arXiv:1807.03039.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(event_shape)
        shape = (event_shape[0], *(1 for _ in event_shape[1:]))
        self.shift, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Shift and scale.

        Args:
            x: (..., *event_shape).
            context: ignored.

        Returns:
            z (..., *event_shape) and log |det dz/dx|, (), the same for all events.
        """
        return (x + self.shift) * self.log_scale.exp(), self._log_det()

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Undo shift and scale.

        Args:
            z: (..., *event_shape).
            context: ignored.

        Returns:
            x (..., *event_shape) and log |det dx/dz|, (), the same for all events.
        """
        return z * (-self.log_scale).exp() - self.shift, -self._log_det()

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Set m and s from the data's mean and standard deviation.

        Args:
            x: training data (n, *event_shape).
            context: ignored.

        Returns:
            z (n, *event_shape), of mean 0 and variance 1.
        """
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
    """z is x as a vector.

    Args:
        event_shape: shape of x.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(event_shape, (math.prod(event_shape),))

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Flatten events.

        Args:
            x: (..., *event_shape).
            context: ignored.

        Returns:
            z (..., product of the event shape) and log |det dz/dx| = 0.
        """
        return flatten(x, self.event_shape, "a flow"), x.new_zeros(())

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Give events their shape.

        Args:
            z: (..., product of the event shape).
            context: ignored.

        Returns:
            x (..., *event_shape) and log |det dx/dz| = 0.
        """
        return z.reshape((*z.shape[:-1], *self.event_shape)), z.new_zeros(())


class Reorder(Bijection):
    """z is x with its features in another order.

    Args:
        order: indices of the features of x in the order of z, (features,).
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__((len(order),))
        self.order = nn.Buffer(order)
        self.back = nn.Buffer(order.argsort())

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Put features in the new order.

        Args:
            x: (..., features).
            context: ignored.

        Returns:
            z (..., features) and log |det dz/dx| = 0.
        """
        return x.index_select(-1, self.order), x.new_zeros(())

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Put features in their own order.

        Args:
            z: (..., features).
            context: ignored.

        Returns:
            x (..., features) and log |det dx/dz| = 0.
        """
        return z.index_select(-1, self.back), z.new_zeros(())
