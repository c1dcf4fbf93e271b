"""Coupling flows: one part of an event chooses how the rest is mapped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig, ValueAndLogDet, sum_event
from pyrogen.distributions.flows.elementwise import Elementwise, Spline
from pyrogen.distributions.flows.layers import Actnorm, Chain, Flatten, Reorder
from pyrogen.nn import Dense, as_shape

# Pyro's AffineCoupling, SplineCoupling, AffineAutoregressive and SplineAutoregressive may stand in a flow as they are.
# These layers are not made of them: each is tied to its elementwise map, SplineCoupling has no context and cannot be
# compiled, and a transform that keeps its cache between steps is wrong (see bijections.py). Nor are they made of
# zuko's: of its couplings one cannot be compiled and the other is slower (benchmarks/results/flows_beside_zuko.md).


@dataclass(frozen=True)
class Coupling(BijectionConfig):
    """Layers (z_a, z_b) = (x_a, t(x_b; network(x_a, c))): half of the elements choose how the others are mapped.

    Each layer follows an `Actnorm` and a reordering of the elements. Both directions take one pass. A single element is
    mapped by learned numbers, or by the context's.

    Args:
        elementwise: the map t, `Spline()` by default.
        steps: number of layers, 6 by default.
        hidden: widths of the networks, (64, 64) by default.

    Raises:
        ValueError: `steps` is below 1, or a width is not positive.

    Example:
        >>> from pyrogen.distributions import Affine
        >>> transform = Coupling(steps=2).build((1, 2, 2))()
        >>> transform(torch.zeros(5, 4)).shape
        torch.Size([5, 1, 2, 2])

    References:
        Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803; Durkan, Bekasov, Murray, Papamakarios 2019,
        arXiv:1906.04032.
    """

    elementwise: Elementwise = Spline()  # noqa: RUF009 (frozen)
    steps: Count = 6
    hidden: Sequence[int] = (64, 64)

    def __post_init__(self) -> None:
        check_layers(self)

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """Make the layers.

        Args:
            event_shape: shape of x, which is flattened.
            context: size of the context, 0 by default: none.

        Returns:
            The layers, which together are the identity.
        """
        size = math.prod(event_shape)
        fixed = size // 2
        layers: list[Bijection] = [Flatten(event_shape)]
        for step in range(self.steps):
            shape = (size - fixed, self.elementwise.num_parameters)
            network = Dense(fixed + context, shape, self.hidden) if fixed + context else _Constant(shape)
            coupling = CouplingLayer((size,), fixed, self.elementwise, network)
            layers += [Actnorm((size,)), Reorder(_order(size, step)), coupling]
        return Chain(layers)


class CouplingLayer(Bijection):
    """(z_a, z_b) = (x_a, t(x_b; network(x_a, c))), split along the first dimension of an event.

    Args:
        event_shape: (features,) or (channels, height, width).
        fixed: size of x_a.
        elementwise: the map t, of P parameters.
        network: from x_a, concatenated with the context along its first dimension, to P numbers for each element of
            x_b: (..., features of b, P), or (..., P * channels of b, height, width). It is set to give 0, where t is
            the identity.
    """

    def __init__(self, event_shape: tuple[int, ...], fixed: int, elementwise: Elementwise, network: nn.Module) -> None:
        super().__init__(event_shape)
        self.fixed, self.elementwise, self.network = fixed, elementwise, network
        zero_last_layer(network)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Map the second part by t.

        Args:
            x: (..., *event_shape).
            context: (..., context), of the same leading dimensions, or None.

        Returns:
            z (..., *event_shape) and log |det dz/dx|, (...).
        """
        return self._map(self.elementwise, x, context)

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """Map the second part by the inverse of t.

        Args:
            z: (..., *event_shape).
            context: (..., context), of the same leading dimensions, or None.

        Returns:
            x (..., *event_shape) and log |det dx/dz|, (...).
        """
        return self._map(self.elementwise.inverse, z, context)

    def _map(self, function: Any, event: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The event with `function` applied to its second part."""
        dims = len(self.event_shape)
        a, b = event.split([self.fixed, self.event_shape[0] - self.fixed], -dims)
        b, log_slopes = function(b, self._raw(a, context))
        return torch.cat([a, b], -dims), sum_event(log_slopes, dims)

    def _raw(self, a: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of t, (..., *shape of x_b, P)."""
        rest = self.event_shape[1:]
        if context is not None:
            maps = context.reshape(*context.shape, *(1 for _ in rest)).expand(*context.shape, *rest)
            a = torch.cat([a, maps], -len(self.event_shape))
        raw: Tensor = self.network(a)
        if rest:
            raw = raw.unflatten(-3, (self.elementwise.num_parameters, -1)).movedim(-4, -1)
        return raw.to(a.dtype)


class _Constant(nn.Module):
    """Learned numbers, independent of the input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.raw.expand(*x.shape[:-1], *self.raw.shape)


def zero_last_layer(network: nn.Module) -> None:
    """Set weight and bias of a network's last layer to 0.

    Args:
        network: whose last two parameters are that weight and bias.
    """
    for parameter in list(network.parameters())[-2:]:
        nn.init.zeros_(parameter)


def check_layers(config: Any) -> None:
    """Check the fields `steps` and `hidden` of a configuration; hidden widths become a tuple.

    Args:
        config: the configuration, a frozen dataclass.

    Raises:
        ValueError: there is no step, or a width is not positive.
    """
    object.__setattr__(config, "hidden", as_shape(config.hidden))
    if config.steps < 1:
        raise ValueError(f"{type(config).__name__} needs at least one step, got steps={config.steps!r}")


def _order(size: int, step: int) -> Tensor:
    """The order of elements before a layer: unchanged, then halves exchanged, then shuffled, exchanged again, ..."""
    if step == 0:
        return torch.arange(size)
    if step % 2 or size <= 2:
        return torch.arange(size).flip(0)
    return torch.randperm(size, generator=torch.Generator().manual_seed(step))
