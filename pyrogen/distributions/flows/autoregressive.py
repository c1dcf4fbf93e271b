"""Autoregressive flows: a masked network chooses how each element is mapped, from the elements before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig, ValueAndLogDet
from pyrogen.distributions.flows.couplings import Coupling, check_layers, zero_last_layer
from pyrogen.distributions.flows.elementwise import Affine, Elementwise
from pyrogen.distributions.flows.layers import Actnorm, Chain, Flatten


@dataclass(frozen=True)
class Autoregressive(BijectionConfig):
    """Layers z_i = t(x_i; network(x_1, ..., x_i-1, c)) of a masked network, the order reversed from layer to layer.

    The density of x takes one pass, a draw one pass for each element. With `inverse` it is the other way around: x_i =
    t(z_i; network(z_1, ..., z_i-1, c)), an inverse autoregressive flow.

    Args:
        elementwise: the map t, `Affine()` by default.
        steps: number of layers, 5 by default.
        hidden: widths of the masked networks, (64, 64) by default; those below the number of elements are raised to it.
        inverse: whether draws take one pass in place of densities; False by default.

    Raises:
        ValueError: `steps` is below 1, or there is no hidden width.

    Example:
        >>> transform = Autoregressive(steps=2).build((3,))()
        >>> transform.inv(torch.zeros(5, 3)).shape
        torch.Size([5, 3])

    References:
        Papamakarios, Pavlakou, Murray 2017, arXiv:1705.07057; Kingma et al. 2016, arXiv:1606.04934; Germain et al.
        2015, arXiv:1502.03509.
    """

    elementwise: Elementwise = Affine()  # noqa: RUF009 (frozen)
    steps: Count = 5
    hidden: Sequence[int] = (64, 64)
    inverse: bool = False

    def __post_init__(self) -> None:
        check_layers(self)
        if not self.hidden:
            raise ValueError("Autoregressive needs at least one hidden width, got hidden=(): pass such as (64,)")

    @property
    def sequential_log_prob(self) -> bool:  # type: ignore[override]
        """Whether the density takes one pass for each element."""
        return self.inverse

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """Make the layers.

        Args:
            event_shape: shape of x, which is flattened.
            context: size of the context, 0 by default: none.

        Returns:
            The layers, which together are the identity.
        """
        size = math.prod(event_shape)
        if size == 1:  # there is nothing before the only element
            return Coupling(self.elementwise, self.steps, self.hidden).build(event_shape, context)
        layers: list[Bijection] = [Flatten(event_shape)]
        hidden = [max(width, size) for width in self.hidden]
        for step in range(self.steps):
            layer = AutoregressiveLayer(size, context, hidden, self.elementwise, step, self.inverse)
            zero_last_layer(layer.network)
            layers += [Actnorm((size,)), layer]
        return Chain(layers)


class AutoregressiveLayer(Bijection):
    """z_i = t(x_i; network(x_<i, c)) or, with `inverse`, x_i = t(z_i; network(z_<i, c)).

    Args:
        size: number of elements, at least 2.
        context: size of the context, 0: none.
        hidden: widths of the masked network, each at least `size`.
        elementwise: the map t.
        step: number of the layer; the order of elements is reversed in odd ones.
        inverse: whether draws take one pass in place of densities.
        activation: of the masked network; None: SiLU.
    """

    def __init__(
        self,
        size: int,
        context: int,
        hidden: list[int],
        elementwise: Elementwise,
        step: int,
        inverse: bool,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__((size,))
        order = torch.arange(size).flip(0) if step % 2 else torch.arange(size)
        self.elementwise, self.inverse, self.order = elementwise, inverse, order.tolist()
        options: Any = {"permutation": order, "nonlinearity": activation or nn.SiLU()}
        self.network = ConditionalAutoRegressiveNN(size, context, hidden, [elementwise.num_parameters], **options)

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The inverse: in one pass or, with `inverse`, one pass for each element.

        Args:
            x: (..., size).
            context: (..., context), or None where its size is 0.

        Returns:
            z (..., size) and log |det dz/dx|, (...).
        """
        return self._sequential(x, context) if self.inverse else self._parallel(x, context)

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """The map: in one pass for each element or, with `inverse`, one pass.

        Args:
            z: (..., size).
            context: (..., context), or None where its size is 0.

        Returns:
            x (..., size) and log |det dx/dz|, (...).
        """
        return self._parallel(z, context) if self.inverse else self._sequential(z, context)

    def _parallel(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        z, log_slopes = self.elementwise(x, self._raw(x, context))
        return z, log_slopes.sum(-1)

    def _sequential(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        known: list[Tensor] = [torch.zeros_like(z[..., 0])] * len(self.order)
        log_det = torch.zeros_like(z[..., 0])
        for i in self.order:
            raw = self._raw(torch.stack(known, -1), context)[..., i, :]
            known[i], log_slope = self.elementwise.inverse(z[..., i], raw)
            log_det = log_det + log_slope
        return torch.stack(known, -1), log_det

    def _raw(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of t, (..., size, P): element i depends on those before it and on the context."""
        return self.network(x, x[..., :0] if context is None else context).transpose(-1, -2).to(x.dtype)
