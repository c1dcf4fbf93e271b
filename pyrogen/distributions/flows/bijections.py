"""Invertible maps between data and a base: definitions, their layers, and the Pyro transform that these become."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import Transform
from torch import Tensor, nn
from torch.distributions.transforms import _InverseTransform

from pyrogen.nn import batch_shape, flatten

__all__ = ["Actnorm", "Bijection", "BijectionConfig", "Chain", "Flatten", "Reorder", "ValueAndLogDet", "summed"]

ValueAndLogDet = tuple[Tensor, Tensor]
"""Where a map takes an event, and its log |det Jacobian| there, of the leading dimensions, or one for all."""


class BijectionConfig(ABC):
    """The definition of an invertible map x = f(z), whatever the shape of x: `build` makes one with parameters.

    A definition is a frozen dataclass of numbers, tuples and definitions, from which a run folder can build it again.
    One definition serves a story of data, a prior and a guide.
    """

    sequential_log_prob = False
    """Whether x = f(z) takes one pass and its inverse one for each element; guides want that, stories the opposite."""

    @abstractmethod
    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """The map over events x of `event_shape`, told `context` numbers beside."""

    def check(self, x: Tensor) -> None:  # noqa: B027 (optional)
        """Raise a one-line ValueError if some of `x` lies where the map cannot reach."""


class Bijection(nn.Module, ABC):
    """An invertible map x = f(z; c) with its parameters, c (..., context) or None. Called, it gives a Pyro transform.

    Args:
        event_shape: shape of x.
        base_shape: shape of z; None: that of x.
    """

    def __init__(self, event_shape: tuple[int, ...], base_shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.base_shape = event_shape if base_shape is None else base_shape

    @abstractmethod
    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""

    @abstractmethod
    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Start from the data `x`; gives z."""
        return self.to_base(x, context)[0]

    def forward(self, context: Tensor | None = None) -> Transform:
        """The transform z -> x at this context."""
        return _Conditioned(self, context)


class _Conditioned(Transform):
    """The transform z -> x of a bijector at one context, made anew for each density.

    Pyro's transforms with parameters live on from step to step and keep the last x, z and log-determinant by identity
    of tensors: of the same x, as when a batch is all of the data, the next step would be given the last one's z.
    """

    bijective = True

    def __init__(self, bijector: Bijection, context: Tensor | None) -> None:
        super().__init__(cache_size=1)
        self.bijector, self.context = bijector, context
        self.domain = _real(len(bijector.base_shape))
        self.codomain = _real(len(bijector.event_shape))
        self._log_det: Tensor

    @property
    def inv(self) -> Transform:
        """The inverse; not kept, as a circle of references would hold every step's graph until it is collected."""
        return _InverseTransform(self)

    def _call(self, z: Tensor) -> Tensor:
        x, self._log_det = self._moved(self.bijector.to_data, z, self.bijector.base_shape)
        return x

    def _inverse(self, x: Tensor) -> Tensor:
        z, log_det = self._moved(self.bijector.to_base, x, self.bijector.event_shape)
        self._log_det = -log_det
        return z

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |det dy/dx|, (...), for `x` of the base and `y` of the data."""
        known_x, known_y = self._cached_x_y
        if known_x is not x or known_y is not y:
            self._inverse(y)
        return self._log_det

    def forward_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """Of x, for z of `shape`."""
        return torch.Size((*shape[: len(shape) - len(self.bijector.base_shape)], *self.bijector.event_shape))

    def inverse_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """Of z, for x of `shape`."""
        return torch.Size((*shape[: len(shape) - len(self.bijector.event_shape)], *self.bijector.base_shape))

    def _moved(
        self, move: Callable[[Tensor, Tensor | None], ValueAndLogDet], event: Tensor, shape: tuple[int, ...]
    ) -> ValueAndLogDet:
        """Event and context with the same leading dimensions, moved."""
        lead, context = batch_shape(event, shape, type(self.bijector).__name__), self.context
        if context is not None:
            lead = torch.broadcast_shapes(lead, context.shape[:-1])
            context = context.expand((*lead, context.shape[-1]))
        moved, log_det = move(event.expand((*lead, *shape)), context)
        return moved, log_det.expand(lead)


def _real(event_dim: int) -> constraints.Constraint:
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real


class Chain(Bijection):
    """Bijectors one after another.

    Args:
        parts: from x to z.
    """

    def __init__(self, parts: Iterable[Bijection]) -> None:
        listed = list(parts)
        super().__init__(listed[0].event_shape, listed[-1].base_shape)
        self.parts = nn.ModuleList(listed)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""
        total = x.new_zeros(())
        for part in self._parts():
            x, log_det = part.to_base(x, context)
            total = total + log_det
        return x, total

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        total = z.new_zeros(())
        for part in reversed(self._parts()):
            z, log_det = part.to_data(z, context)
            total = total + log_det
        return z, total

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Start every part from what the parts before it make of the data."""
        for part in self._parts():
            x = part.prepare(x, context)
        return x

    def _parts(self) -> list[Bijection]:
        return list(self.parts)  # type: ignore[arg-type]


class Actnorm(Bijection):
    """z = exp(s) (x + m), one s and m for each feature or channel, started so that z has mean 0 and variance 1.

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
        """z and log |det dz/dx|."""
        return (x + self.shift) * self.log_scale.exp(), self._log_det()

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        return z * (-self.log_scale).exp() - self.shift, -self._log_det()

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Start at the data's mean and standard deviation."""
        rows = x.reshape(-1, *self.event_shape).transpose(0, 1).flatten(1)
        shape, mean, scale = self.shift.shape, rows.mean(1), rows.std(1, correction=0)
        # Where a feature does not vary, rounding errors are all there is to blow up, by each layer once more.
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
    """z is x with its features in another order.

    Args:
        order: of the features of x in z.
    """

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


def summed(log_slopes: Tensor, event_dim: int) -> Tensor:
    """The sum over the last `event_dim` dimensions."""
    return log_slopes.sum(tuple(range(-event_dim, 0))) if event_dim else log_slopes
