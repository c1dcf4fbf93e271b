"""Autoregressive distributions: the chain rule over the elements of an event, with a network for the conditionals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrogen.distributions.family import Family
from pyrogen.nn import leading

__all__ = ["AutoregressiveDistribution"]

Conditional = Callable[[int, Tensor], Tensor]
"""From a place i and the elements so far (rows, places, *unit) to the outputs there, (rows, *family.size(unit))."""


class AutoregressiveDistribution(TorchDistribution):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}), the elements of an event in the order of memory.

    p(x_i | x_<i) = family(outputs_i), where outputs_i of the network depends on the elements before i alone. So log
    p(x) is exact and takes one pass, and a draw takes one for each element, or a step each where the network keeps
    what it has computed: it then has a method `steps`.

    Args:
        network: from x (rows, *event_shape), and `context` behind it if there is one, to outputs (rows, places,
            *family.size(unit)); its method `steps(rows[, context])`, if it has one, gives a `Conditional`.
        family: of an element.
        event_shape: of x: (..., *unit), where the dimensions before the unit's are the places.
        unit: event shape of an element: `()` for a number, (features,) for the steps of a series.
        context: what else the conditionals depend on, (*batch_shape, ...); None: nothing, and batch shape ().
        context_dim: dimensions of a context.
        length: how many elements there are, int64 (*batch_shape,); later ones are 0 and score nothing; None: all.

    Example:
        >>> from pyrogen.distributions import Symbols
        >>> from pyrogen.nn import CausalTransformer
        >>> network = CausalTransformer(5, symbols=3, outputs=3, width=8, heads=2)
        >>> words = AutoregressiveDistribution(network, Symbols(3), (5,))
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
        context: Tensor | None = None,
        context_dim: int = 1,
        length: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.network, self.family, self.unit = network, family, tuple(unit)
        self.context, self.context_dim, self.length = context, context_dim, length
        event = tuple(event_shape)
        self._places = math.prod(event[: len(event) - len(self.unit)])
        of_context = () if context is None else tuple(context.shape[: context.dim() - context_dim])
        batch_shape = torch.broadcast_shapes(of_context, () if length is None else length.shape)
        super().__init__(batch_shape, torch.Size(event), validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of the elements, in every place."""
        inner: Any = self.family(torch.zeros(self.family.size(self.unit)), self.unit).support
        support: constraints.Constraint = constraints.independent(inner, len(self.event_shape) - len(self.unit))
        return support

    def expand(self, batch_shape: Any, _instance: Any = None) -> AutoregressiveDistribution:
        """The distribution with another batch shape."""
        new = self._get_checked_instance(AutoregressiveDistribution, _instance)
        new.network, new.family, new.unit, new._places = self.network, self.family, self.unit, self._places
        new.context, new.context_dim = self._spread(self.context, batch_shape, self.context_dim), self.context_dim
        new.length = self._spread(self.length, batch_shape, 0)
        super(AutoregressiveDistribution, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x = value), nats: one pass of the network."""
        if self._validate_args:
            self._validate_sample(value)
        event = tuple(self.event_shape)
        lead = torch.broadcast_shapes(leading(value, event, "AutoregressiveDistribution"), self.batch_shape)
        rows = math.prod(lead)
        value = value.expand(*lead, *event).reshape(rows, *event)
        size = self.family.size(self.unit)
        outputs = self.network(value, *self._context(lead)).reshape(rows, self._places, *size)
        log_prob: Tensor = self.family(outputs, self.unit).log_prob(value.reshape(rows, self._places, *self.unit))
        there = self._there(lead, log_prob.device)
        if there is not None:
            log_prob = torch.where(there, log_prob, 0.0)
        return log_prob.sum(-1).reshape(lead)

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), given: Tensor | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *event_shape), element by element.

        Args:
            sample_shape: of independent draws.
            given: the first elements, (places given, *unit) with any leading dimensions that broadcast, which are kept,
                such as the upper half of an image; the rest is drawn given them.
        """
        lead = (*torch.Size(sample_shape), *self.batch_shape)
        rows = math.prod(lead)
        conditional = self._conditional(rows, lead)
        known = None
        if given is not None:
            inner = given.shape[given.dim() - 1 - len(self.unit) :]
            known = given.expand(*lead, *inner).reshape(rows, *inner)
        x = self._blank(rows, known)
        for place in range(self._places):
            outputs = conditional(place, x)
            element = self.family(outputs.reshape(rows, *self.family.size(self.unit)), self.unit).sample()
            x[:, place] = element if known is None or place >= known.shape[1] else known[:, place]
        there = self._there(lead, x.device)
        if there is not None:
            x = x * there.reshape(rows, self._places, *[1] * len(self.unit)).to(x.dtype)
        return x.reshape(*lead, *self.event_shape)

    def _conditional(self, rows: int, lead: tuple[int, ...]) -> Conditional:
        """How the outputs for one element come: by the network's own steps, or by whole passes."""
        context = self._context(lead)
        steps = getattr(self.network, "steps", None)
        if steps is not None:
            conditional: Conditional = steps(rows, *context)
            return conditional

        def by_whole_passes(place: int, x: Tensor) -> Tensor:
            outputs = self.network(x.reshape(rows, *self.event_shape), *context)
            return outputs.reshape(rows, self._places, -1)[:, place]

        return by_whole_passes

    def _context(self, lead: tuple[int, ...]) -> list[Tensor]:
        """The context of each row, as the network's further argument."""
        context = self._spread(self.context, lead, self.context_dim)
        return [] if context is None else [context.flatten(0, len(lead) - 1) if lead else context[None]]

    def _there(self, lead: tuple[int, ...], device: torch.device) -> Tensor | None:
        """Which places hold elements, (rows, places); None where all do."""
        length = self._spread(self.length, lead, 0)
        return None if length is None else torch.arange(self._places, device=device) < length.reshape(-1, 1)

    @staticmethod
    def _spread(tensor: Tensor | None, lead: Any, inner: int) -> Tensor | None:
        """The tensor with `lead` in front of its last `inner` dimensions."""
        return None if tensor is None else tensor.expand(*lead, *tensor.shape[tensor.dim() - inner :])

    def _blank(self, rows: int, known: Tensor | None) -> Tensor:
        """An event of zeros to draw into; no output may depend on what is not drawn yet."""
        shape = (rows, self._places, *self.unit)
        if known is not None:
            return known.new_zeros(shape)
        of_network = next(iter(getattr(self.network, "parameters", list)()), torch.zeros(()))
        return torch.zeros(
            shape, dtype=torch.int64 if self.family.integer else of_network.dtype, device=of_network.device
        )
