"""Flows over vectors: couplings of two halves, and autoregressions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN
from torch import Tensor, nn

from pyrogen.distributions.flows.bijections import (
    Actnorm,
    Bijection,
    BijectionConfig,
    Chain,
    Flatten,
    Reorder,
    ValueAndLogDet,
    summed,
)
from pyrogen.distributions.flows.elementwise import Affine, Elementwise, Spline
from pyrogen.nn import Dense, as_shape

__all__ = ["Autoregressive", "Coupling", "CouplingLayer"]

# Pyro's AffineCoupling, SplineCoupling, AffineAutoregressive and SplineAutoregressive may stand in a flow as they are.
# They are not what these layers are made of: each is tied to its elementwise map, SplineCoupling takes no context and
# no compiled step, and a transform that keeps its cache between steps is wrong (see bijections.py).


@dataclass(frozen=True)
class Coupling(BijectionConfig):
    """Layers (z_a, z_b) = (x_a, t(x_b; network(x_a, c))): half of the elements tell how the others are mapped.

    Each layer stands behind an `Actnorm` and another order of the elements. Both directions take one pass. One element
    alone is mapped by learned numbers, or by those of the context.

    Args:
        elementwise: the map t.
        steps: number of layers.
        hidden: widths of the networks.

    Raises:
        ValueError: no step.

    Example:
        >>> transform = Coupling(Affine()).build((1, 2, 2))()
        >>> transform(torch.zeros(5, 4)).shape
        torch.Size([5, 1, 2, 2])

    References:
        Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803; Durkan, Bekasov, Murray, Papamakarios 2019,
        arXiv:1906.04032.
    """

    elementwise: Elementwise = Spline()  # noqa: RUF009 (frozen)
    steps: int = 6
    hidden: Sequence[int] = (64, 64)

    def __post_init__(self) -> None:
        _check_steps(self)

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """The layers over events of `event_shape`, flattened."""
        size = math.prod(event_shape)
        fixed = size // 2
        layers: list[Bijection] = [Flatten(event_shape)]
        for step in range(self.steps):
            shape = (size - fixed, self.elementwise.num_parameters)
            network = Dense(fixed + context, shape, self.hidden) if fixed + context else _Constant(shape)
            layers += [
                Actnorm((size,)),
                Reorder(_order(size, step)),
                CouplingLayer((size,), fixed, self.elementwise, network),
            ]
        return Chain(layers)


class CouplingLayer(Bijection):
    """(z_a, z_b) = (x_a, t(x_b; network(x_a, c))), split along the first dimension of an event.

    Args:
        event_shape: (features,) or (channels, height, width).
        fixed: size of x_a.
        elementwise: the map t, of P parameters.
        network: from x_a, with the context behind its first dimension, to as many numbers as x_b has, times P:
            (..., features of b, P), or (..., P * channels of b, height, width). Starts at 0, where t is the identity.
    """

    def __init__(self, event_shape: tuple[int, ...], fixed: int, elementwise: Elementwise, network: nn.Module) -> None:
        super().__init__(event_shape)
        self.fixed, self.elementwise, self.network = fixed, elementwise, network
        start_at_zero(network)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""
        a, b = self._split(x)
        b, log_slopes = self.elementwise(b, self._raw(a, context))
        return torch.cat([a, b], -len(self.event_shape)), summed(log_slopes, len(self.event_shape))

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        a, b = self._split(z)
        b, log_slopes = self.elementwise.inverse(b, self._raw(a, context))
        return torch.cat([a, b], -len(self.event_shape)), summed(log_slopes, len(self.event_shape))

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split([self.fixed, self.event_shape[0] - self.fixed], -len(self.event_shape))

    def _raw(self, a: Tensor, context: Tensor | None) -> Tensor:
        """The numbers that choose t, (..., *shape of x_b, P)."""
        rest = self.event_shape[1:]
        if context is not None:
            beside = context.reshape(*context.shape, *(1 for _ in rest)).expand(*context.shape, *rest)
            a = torch.cat([a, beside], -len(self.event_shape))
        raw: Tensor = self.network(a)
        if rest:
            raw = raw.unflatten(-3, (self.elementwise.num_parameters, -1)).movedim(-4, -1)
        return raw.to(a.dtype)


@dataclass(frozen=True)
class Autoregressive(BijectionConfig):
    """Layers z_i = t(x_i; network(x_1, ..., x_i-1, c)) of a masked network, the order turning around between them.

    The density of x takes one pass, a draw one for each element; with `inverse` it is x_i = t(z_i; network(z_1, ...,
    z_i-1, c)), the other way around.

    Args:
        elementwise: the map t.
        steps: number of layers.
        hidden: widths of the masked networks, each at least the number of elements; smaller ones are raised to it.
        inverse: whether draws take one pass, as guides need it (inverse autoregressive flow).

    Raises:
        ValueError: no step, or no hidden width.

    Example:
        >>> density = Autoregressive(Affine()).build((3,))
        >>> density().inv(torch.zeros(5, 3)).shape
        torch.Size([5, 3])

    References:
        Papamakarios, Pavlakou, Murray 2017, arXiv:1705.07057; Kingma et al. 2016, arXiv:1606.04934; Germain et al.
        2015, arXiv:1502.03509.
    """

    elementwise: Elementwise = Affine()  # noqa: RUF009 (frozen)
    steps: int = 5
    hidden: Sequence[int] = (64, 64)
    inverse: bool = False

    def __post_init__(self) -> None:
        _check_steps(self)
        if not self.hidden:
            raise ValueError("Autoregressive needs at least one hidden width, got hidden=(): pass such as (64,)")

    @property
    def sequential_log_prob(self) -> bool:  # type: ignore[override]
        """Whether draws are what takes one pass."""
        return self.inverse

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """The layers over events of `event_shape`, flattened."""
        size = math.prod(event_shape)
        if size == 1:  # nothing comes before the only element
            return Coupling(self.elementwise, self.steps, self.hidden).build(event_shape, context)
        layers: list[Bijection] = [Flatten(event_shape)]
        hidden = [max(width, size) for width in self.hidden]
        for step in range(self.steps):
            order = torch.arange(size)
            network = _Masked(
                size, context, hidden, self.elementwise.num_parameters, order.flip(0) if step % 2 else order
            )
            layers += [Actnorm((size,)), _Autoregress(network, self.elementwise, self.inverse)]
        return Chain(layers)


class _Autoregress(Bijection):
    def __init__(self, network: _Masked, elementwise: Elementwise, inverse: bool) -> None:
        super().__init__((network.size,))
        start_at_zero(network)
        self.network: _Masked = network
        self.elementwise, self.inverse = elementwise, inverse

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""
        return self._element_by_element(x, context) if self.inverse else self._at_once(x, context)

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        return self._at_once(z, context) if self.inverse else self._element_by_element(z, context)

    def _at_once(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        z, log_slopes = self.elementwise(x, self.network(x, context))
        return z, log_slopes.sum(-1)

    def _element_by_element(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        known: list[Tensor] = [torch.zeros_like(z[..., 0])] * len(self.network.order)
        log_det = torch.zeros_like(z[..., 0])
        for i in self.network.order:
            raw = self.network(torch.stack(known, -1), context)[..., i, :]
            known[i], log_slope = self.elementwise.inverse(z[..., i], raw)
            log_det = log_det + log_slope
        return torch.stack(known, -1), log_det


class _Masked(nn.Module):
    """Pyro's masked network: element i of its outputs (..., size, P) is told of those before it and a context."""

    def __init__(self, size: int, context: int, hidden: list[int], parameters: int, order: Tensor) -> None:
        super().__init__()
        self.size, self.order = size, [int(i) for i in order]
        told: dict[str, Any] = {"param_dims": [parameters], "permutation": order, "nonlinearity": nn.SiLU()}
        if context:
            self.network: nn.Module = ConditionalAutoRegressiveNN(size, context, hidden, **told)
        else:
            self.network = AutoRegressiveNN(size, hidden, **told)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        raw: Tensor = self.network(x) if context is None else self.network(x, context)
        return raw.transpose(-1, -2).to(x.dtype)


class _Constant(nn.Module):
    """Learned numbers, whatever the input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.raw.expand(*x.shape[:-1], *self.raw.shape)


def start_at_zero(network: nn.Module) -> None:
    """Put weight and bias of the network's last layer to 0."""
    for parameter in list(network.parameters())[-2:]:
        nn.init.zeros_(parameter)


def _order(size: int, step: int) -> Tensor:
    """The halves as they are, then exchanged, then shuffled, and exchanged again, ..."""
    if step % 2 or size <= 2:
        return torch.arange(size).flip(0) if step else torch.arange(size)
    if step == 0:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(step))


def _check_steps(definition: Coupling | Autoregressive) -> None:
    object.__setattr__(definition, "hidden", as_shape(definition.hidden))
    if definition.steps < 1:
        raise ValueError(f"{type(definition).__name__} needs at least one step, got steps={definition.steps!r}")
