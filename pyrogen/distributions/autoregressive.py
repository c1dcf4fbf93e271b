"""Autoregressive distributions: the chain rule over the elements of an event, with a network for the conditionals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrogen.distributions.expandable import ExpandableDistribution
from pyrogen.distributions.family import Family
from pyrogen.nn import batch_shape, without_padding

Conditional = Callable[[int, Tensor], Tensor]
"""From a position i and the elements so far (rows, length, *unit) to the outputs for it, (rows, *family.size(unit))."""


class AutoregressiveDistribution(ExpandableDistribution):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}), over the elements of an event in a fixed order.

    p(x_i | x_<i) = family(outputs_i), where outputs_i of the network depends only on the elements before i. So log p(x)
    is exact and takes one pass of the network. A draw takes one pass for each element, or one step where the network
    caches its activations and has a method `steps`. The order is that of memory; or, for an image (channels, height,
    width), pixel by pixel, and within a pixel channel by channel.

    Args:
        network: from x (rows, *event_shape), and the context as a second argument if there is one, to outputs (rows,
            length, *family.size(unit)); its method `steps(rows[, context])`, if it has one, gives a `Conditional`.
        family: of an element.
        event_shape: shape of x: (*positions, *unit); for an image that is generated pixel by pixel (channels, height,
            width).
        unit: event shape of an element: `()`, the default, for a number, (features,) for the steps of a series,
            (channels,) for whole pixels.
        by_pixel: whether the order is that of pixels; False by default.
        context: a further input of the conditionals, (*batch_shape, ...); None, the default: none, and batch shape ().
        context_dim: number of event dimensions of a context, 1 by default.
        length: number of elements in use, int64 (*batch_shape,); later ones are drawn as 0 and do not contribute to log
            p(x); None, the default: all.
        validate_args: whether values and lengths are checked; None, the default: as Pyro is set.

    Raises:
        ValueError: a length is out of range, where arguments are validated.

    Example:
        >>> from pyrogen.distributions import Categorical
        >>> from pyrogen.nn import CausalTransformer
        >>> network = CausalTransformer(5, symbols=3, outputs=3, width=8, heads=2)
        >>> words = AutoregressiveDistribution(network, Categorical(3), (5,))
        >>> words.log_prob(words.sample((7,))).shape
        torch.Size([7])

    References:
        Larochelle, Murray 2011, "The neural autoregressive distribution estimator", AISTATS; van den Oord,
        Kalchbrenner, Kavukcuoglu 2016, arXiv:1601.06759.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = False

    def __init__(
        self,
        network: Callable[..., Tensor],
        family: Family,
        event_shape: tuple[int, ...],
        *,
        unit: tuple[int, ...] = (),
        by_pixel: bool = False,
        context: Tensor | None = None,
        context_dim: int = 1,
        length: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.network, self.family, self.unit, self.by_pixel = network, family, tuple(unit), by_pixel
        self.context, self.context_dim, self.length = context, context_dim, length
        self.batched = {"context": context_dim, "length": 0}
        event = tuple(event_shape)
        self._size = math.prod(event) // math.prod(self.unit)
        context_shape = () if context is None else tuple(context.shape[: context.dim() - context_dim])
        batch_shape = torch.broadcast_shapes(context_shape, () if length is None else length.shape)
        super().__init__(batch_shape, torch.Size(event), validate_args=validate_args)
        if length is None or not self._validate_args:
            return
        if length.is_floating_point() or bool(((length < 0) | (length > self._size)).any()):
            kind = f"{str(length.dtype).removeprefix('torch.')} from {length.min()} to {length.max()}"
            raise ValueError(f"a length is a whole number of elements from 0 to {self._size}, int64; got {kind}")

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The constraint that values satisfy.

        Returns:
            The support of an element's family, at every position.
        """
        inner: Any = self.family(torch.zeros(self.family.size(self.unit)), self.unit).support
        inner = inner.base_constraint if self.unit else inner
        return constraints.independent(inner, len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The exact log density, in nats, by one pass of the network.

        Args:
            value: (..., *event_shape), which broadcasts against the batch shape.

        Returns:
            log p(x = value), (...).
        """
        event = tuple(self.event_shape)
        lead = torch.broadcast_shapes(batch_shape(value, event, "AutoregressiveDistribution"), self.batch_shape)
        rows, length = math.prod(lead), self._length(lead)
        value = value.expand(*lead, *event).reshape(rows, *event)
        if length is not None:
            value = self._event(without_padding(self.elements(value), length))
        if self._validate_args:
            self._validate_sample(value.reshape(*lead, *event))
        size = self.family.size(self.unit)
        outputs = self.network(value, *self._context(lead)).reshape(rows, self._size, *size)
        log_prob: Tensor = self.family(outputs, self.unit).log_prob(self.elements(value))
        return without_padding(log_prob, length).sum(-1).reshape(lead)

    def point(self) -> Tensor:
        """One draw, as there is no closed form of the mean.

        Returns:
            A value (*batch_shape, *event_shape).
        """
        return self.sample()

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), prefix: Tensor | None = None) -> Tensor:
        """Draw values, element by element.

        Args:
            sample_shape: of independent draws, `()` by default.
            prefix: the first elements in order, (..., length of the prefix, *unit), such as the `elements` of the upper
                half of an image; they are kept and the others are drawn conditionally on them; None, the default: none.

        Returns:
            Values (*sample_shape, *batch_shape, *event_shape).
        """
        lead = (*torch.Size(sample_shape), *self.batch_shape)
        rows = math.prod(lead)
        conditional = self._conditional(rows, lead)
        known = None
        if prefix is not None:
            inner = prefix.shape[prefix.dim() - 1 - len(self.unit) :]
            known = prefix.expand(*lead, *inner).reshape(rows, *inner)
        x = self._blank(rows, known)
        for i in range(self._size):
            outputs = conditional(i, x)
            element = self.family(outputs.reshape(rows, *self.family.size(self.unit)), self.unit).sample()
            x[:, i] = element if known is None or i >= known.shape[1] else known[:, i]
        return self._event(without_padding(x, self._length(lead))).reshape(*lead, *self.event_shape)

    def elements(self, x: Tensor) -> Tensor:
        """The elements of events in their order.

        Args:
            x: (rows, *event_shape), or first parts of events, shorter along their first dimension in the order, such as
                the upper rows of images.

        Returns:
            (rows, number of elements, *unit).
        """
        return (x.movedim(1, -1) if self.by_pixel else x).reshape(len(x), -1, *self.unit)

    def _event(self, elements: Tensor) -> Tensor:
        """The inverse of `elements`."""
        event = tuple(self.event_shape)
        if self.by_pixel:
            return elements.reshape(len(elements), *event[1:], event[0]).movedim(-1, 1)
        return elements.reshape(len(elements), *event)

    def _conditional(self, rows: int, lead: tuple[int, ...]) -> Conditional:
        """The outputs for one element, by the network's own steps or by full passes."""
        context = self._context(lead)
        steps: Callable[..., Conditional] | None = getattr(self.network, "steps", None)
        if steps is not None:
            return steps(rows, *context)
        return lambda i, x: self.network(self._event(x), *context).reshape(rows, self._size, -1)[:, i]

    def _context(self, lead: tuple[int, ...]) -> list[Tensor]:
        """The context of each row, as further arguments of the network."""
        context = _expand(self.context, lead, self.context_dim)
        return [] if context is None else [context.flatten(0, len(lead) - 1) if lead else context[None]]

    def _length(self, lead: tuple[int, ...]) -> Tensor | None:
        """The length of each row, (rows,)."""
        length = _expand(self.length, lead, 0)
        return None if length is None else length.reshape(-1)

    def _blank(self, rows: int, known: Tensor | None) -> Tensor:
        """Zeros to write draws into; no output may depend on elements that are not drawn yet."""
        shape = (rows, self._size, *self.unit)
        if known is not None:
            return known.new_zeros(shape)
        parameter = next(iter(getattr(self.network, "parameters", list)()), torch.zeros(()))
        return parameter.new_zeros(shape, dtype=torch.int64 if self.family.integer else None)


def _expand(tensor: Tensor | None, lead: Any, event_dim: int) -> Tensor | None:
    """The tensor with batch dimensions `lead`."""
    return None if tensor is None else tensor.expand(*lead, *tensor.shape[tensor.dim() - event_dim :])
