"""Invertible maps between data and a base: configurations, and the modules that they build."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import Transform
from torch import Tensor, nn
from torch.distributions.transforms import _InverseTransform

from pyrogen.nn import batch_shape

ValueAndLogDet = tuple[Tensor, Tensor]
"""The image of an event, and log |det Jacobian| there: one for each event, (...), or one for all, ()."""


class BijectionConfig(ABC):
    """The configuration of an invertible map x = f(z) over events of any shape: `build` makes one with parameters.

    A configuration is a frozen dataclass of numbers, tuples and configurations, from which a run folder can build it
    again. The same one can be used in a story of data, a prior and a guide.
    """

    sequential_log_prob = False
    """Whether z = f^-1(x) takes one pass for each element, and x = f(z) one pass, as is best for guides."""

    @abstractmethod
    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """Make the map.

        Args:
            event_shape: shape of x.
            context: size of the context, a further input of the networks; 0 by default: none.

        Returns:
            The map, with new parameters.
        """

    def check(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Check that every datum lies in the range of the map; by default nothing is checked.

        Args:
            x: data (n, *event_shape).
        """


class Bijection(nn.Module, ABC):
    """An invertible map x = f(z; c) with its parameters, of a context c (..., context) or None.

    Args:
        event_shape: shape of x.
        base_shape: shape of z; None, the default: that of x.
    """

    def __init__(self, event_shape: tuple[int, ...], base_shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.base_shape = event_shape if base_shape is None else base_shape

    @abstractmethod
    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The inverse z = f^-1(x; c).

        Args:
            x: (..., *event_shape).
            context: (..., context), of the same leading dimensions, or None.

        Returns:
            z (..., *base_shape) and log |det dz/dx|.
        """

    @abstractmethod
    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The map x = f(z; c).

        Args:
            z: (..., *base_shape).
            context: (..., context), of the same leading dimensions, or None.

        Returns:
            x (..., *event_shape) and log |det dx/dz|.
        """

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Initialize parameters from data; by default nothing is done.

        Args:
            x: training data (n, *event_shape).
            context: their contexts (n, context), or None.

        Returns:
            z (n, *base_shape), for the layer that comes next.
        """
        return self.to_base(x, context)[0]

    def forward(self, context: Tensor | None = None) -> Transform:
        """The Pyro transform z -> x at one context.

        Args:
            context: (..., context); None, the default: none.

        Returns:
            A transform, for one density only.
        """
        return _ConditionedTransform(self, context)


class _ConditionedTransform(Transform):
    """The transform z -> x of a bijection at one context, made anew for each density.

    Pyro's transforms with parameters live on from step to step and cache the last x, z and log-determinant by identity
    of tensors: for the same x, as when a batch is the whole data set, the next step would get the last one's z.
    """

    bijective = True

    def __init__(self, bijection: Bijection, context: Tensor | None) -> None:
        super().__init__(cache_size=1)
        self.bijection, self.context = bijection, context
        self.domain = _real(len(bijection.base_shape))
        self.codomain = _real(len(bijection.event_shape))
        self._log_det: Tensor

    @property
    def inv(self) -> Transform:
        """The inverse; not cached, as a reference cycle would keep every step's graph until it is collected."""
        return _InverseTransform(self)

    def _call(self, z: Tensor) -> Tensor:
        x, self._log_det = self._apply(self.bijection.to_data, z, self.bijection.base_shape)
        return x

    def _inverse(self, x: Tensor) -> Tensor:
        z, log_det = self._apply(self.bijection.to_base, x, self.bijection.event_shape)
        self._log_det = -log_det
        return z

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |det dy/dx|, (...), for `x` of the base and `y` of the data."""
        known_x, known_y = self._cached_x_y
        if known_x is not x or known_y is not y:
            self._inverse(y)
        return self._log_det

    def forward_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of x for z of `shape`."""
        return torch.Size((*shape[: len(shape) - len(self.bijection.base_shape)], *self.bijection.event_shape))

    def inverse_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of z for x of `shape`."""
        return torch.Size((*shape[: len(shape) - len(self.bijection.event_shape)], *self.bijection.base_shape))

    def _apply(
        self, function: Callable[[Tensor, Tensor | None], ValueAndLogDet], event: Tensor, shape: tuple[int, ...]
    ) -> ValueAndLogDet:
        """Broadcast event and context to the same leading dimensions, and map the event."""
        lead, context = batch_shape(event, shape, type(self.bijection).__name__), self.context
        if context is not None:
            lead = torch.broadcast_shapes(lead, context.shape[:-1])
            context = context.expand((*lead, context.shape[-1]))
        value, log_det = function(event.expand((*lead, *shape)), context)
        return value, log_det.expand(lead)


def _real(event_dim: int) -> constraints.Constraint:
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real


def sum_event(log_slopes: Tensor, event_dim: int) -> Tensor:
    """The sum over the dimensions of an event; Pyro's `sum_rightmost` reshapes, which not every step compiles.

    Args:
        log_slopes: of each element, (..., *event_shape).
        event_dim: number of dimensions of an event.

    Returns:
        The sums, (...).
    """
    return log_slopes.sum(tuple(range(-event_dim, 0))) if event_dim else log_slopes
