"""Autoregressive distributions: the chain rule over the elements of an event, with a network for the conditionals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyrogen.distributions.family import Family
from pyrogen.distributions.likelihoods import Bernoulli
from pyrogen.nn import as_shape, batch_shape, without_padding

__all__ = ["AutoregressiveDistribution", "AutoregressiveLikelihood", "check_outputs"]

Conditional = Callable[[int, Tensor], Tensor]
"""From a place i and the elements so far (rows, places, *unit) to the outputs there, (rows, *family.size(unit))."""


class AutoregressiveDistribution(TorchDistribution):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}), the elements of an event in their order.

    p(x_i | x_<i) = family(outputs_i), where outputs_i of the network depends on the elements before i alone. So log
    p(x) is exact and takes one pass, and a draw takes one for each element, or a step each where the network keeps
    what it has computed: it then has a method `steps`. The order is that of memory; or, of an image (channels, height,
    width), pixel by pixel, and of each pixel its channels in turn.

    Args:
        network: from x (rows, *event_shape), and `context` behind it if there is one, to outputs (rows, places,
            *family.size(unit)); its method `steps(rows[, context])`, if it has one, gives a `Conditional`.
        family: of an element.
        event_shape: of x: (..., *unit), where the dimensions before the unit's are the places; of an image that comes
            pixel by pixel (channels, height, width).
        unit: event shape of an element: `()` for a number, (features,) for the steps of a series, (channels,) for
            pixels as a whole.
        by_pixel: whether the order is that of pixels.
        context: what else the conditionals depend on, (*batch_shape, ...); None: nothing, and batch shape ().
        context_dim: dimensions of a context.
        length: how many elements there are, int64 (*batch_shape,); later ones are drawn as 0, and whatever they are
            score nothing; None: all.

    Raises:
        ValueError: a length that is none, where arguments are validated.

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
        event = tuple(event_shape)
        self._places = math.prod(event) // math.prod(self.unit)
        of_context = () if context is None else tuple(context.shape[: context.dim() - context_dim])
        batch_shape = torch.broadcast_shapes(of_context, () if length is None else length.shape)
        super().__init__(batch_shape, torch.Size(event), validate_args=validate_args)
        if self._validate_args and length is not None:
            self._check_length(length)

    def _check_length(self, length: Tensor) -> None:
        if length.is_floating_point() or bool(((length < 0) | (length > self._places)).any()):
            kind = f"{str(length.dtype).removeprefix('torch.')} from {length.min()} to {length.max()}"
            raise ValueError(f"a length is a whole number from 0 to {self._places} of elements, int64; got {kind}")

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of the elements, in every place."""
        inner: Any = self.family(torch.zeros(self.family.size(self.unit)), self.unit).support
        inner = inner.base_constraint if self.unit else inner
        support: constraints.Constraint = constraints.independent(inner, len(self.event_shape))
        return support

    def expand(self, batch_shape: Any, _instance: Any = None) -> AutoregressiveDistribution:
        """The distribution with another batch shape."""
        new = self._get_checked_instance(AutoregressiveDistribution, _instance)
        new.network, new.family, new.unit, new._places = self.network, self.family, self.unit, self._places
        new.by_pixel = self.by_pixel
        new.context, new.context_dim = self._spread(self.context, batch_shape, self.context_dim), self.context_dim
        new.length = self._spread(self.length, batch_shape, 0)
        super(AutoregressiveDistribution, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x = value), nats: one pass of the network."""
        event = tuple(self.event_shape)
        lead = torch.broadcast_shapes(batch_shape(value, event, "AutoregressiveDistribution"), self.batch_shape)
        rows, length = math.prod(lead), self._length(lead)
        value = value.expand(*lead, *event).reshape(rows, *event)
        if length is not None:
            value = self._event(without_padding(self.elements(value), length))
        if self._validate_args:
            self._validate_sample(value.reshape(*lead, *event))
        size = self.family.size(self.unit)
        outputs = self.network(value, *self._context(lead)).reshape(rows, self._places, *size)
        log_prob: Tensor = self.family(outputs, self.unit).log_prob(self.elements(value))
        return without_padding(log_prob, length).sum(-1).reshape(lead)

    def point(self) -> Tensor:
        """A draw: no mean can be written down."""
        return self.sample()

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), prefix: Tensor | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *event_shape), element by element.

        Args:
            sample_shape: of independent draws.
            prefix: the first elements in order, (places given, *unit) with any leading dimensions that broadcast, which
                are kept, such as the `elements` of the upper half of an image; the rest is drawn given them.
        """
        lead = (*torch.Size(sample_shape), *self.batch_shape)
        rows = math.prod(lead)
        conditional = self._conditional(rows, lead)
        known = None
        if prefix is not None:
            inner = prefix.shape[prefix.dim() - 1 - len(self.unit) :]
            known = prefix.expand(*lead, *inner).reshape(rows, *inner)
        x = self._blank(rows, known)
        for place in range(self._places):
            outputs = conditional(place, x)
            element = self.family(outputs.reshape(rows, *self.family.size(self.unit)), self.unit).sample()
            x[:, place] = element if known is None or place >= known.shape[1] else known[:, place]
        return self._event(without_padding(x, self._length(lead))).reshape(*lead, *self.event_shape)

    def elements(self, x: Tensor) -> Tensor:
        """The elements in order (rows, places, *unit) of events `x` (rows, *event_shape), or of the first part of them.

        A part is shorter along the dimension that the order runs through last: the upper rows of an image.
        """
        return (x.movedim(1, -1) if self.by_pixel else x).reshape(len(x), -1, *self.unit)

    def _event(self, elements: Tensor) -> Tensor:
        """Events (rows, *event_shape) of their elements in order."""
        event = tuple(self.event_shape)
        if self.by_pixel:
            return elements.reshape(len(elements), *event[1:], event[0]).movedim(-1, 1)
        return elements.reshape(len(elements), *event)

    def _conditional(self, rows: int, lead: tuple[int, ...]) -> Conditional:
        """How the outputs for one element come: by the network's own steps, or by whole passes."""
        context = self._context(lead)
        steps = getattr(self.network, "steps", None)
        if steps is not None:
            conditional: Conditional = steps(rows, *context)
            return conditional

        def by_whole_passes(place: int, x: Tensor) -> Tensor:
            outputs = self.network(self._event(x), *context)
            return outputs.reshape(rows, self._places, -1)[:, place]

        return by_whole_passes

    def _context(self, lead: tuple[int, ...]) -> list[Tensor]:
        """The context of each row, as the network's further argument."""
        context = self._spread(self.context, lead, self.context_dim)
        return [] if context is None else [context.flatten(0, len(lead) - 1) if lead else context[None]]

    def _length(self, lead: tuple[int, ...]) -> Tensor | None:
        """After how many elements each row ends, (rows,); None: after the last."""
        length = self._spread(self.length, lead, 0)
        return None if length is None else length.reshape(-1)

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


@dataclass(eq=False, init=False)
class AutoregressiveLikelihood(nn.Module, Family):
    """A likelihood whose elements are told of those before, and of what the decoder makes of z: PixelVAE's.

    p(x | z) = prod_i p(x_i | x_<i, decoder(z)). A network that is rich enough does without z: the posterior then
    collapses, and training says so. One that sees little of x leaves more to z.

    Args:
        network: an autoregressive one, such as `GatedPixelCNN`, built with a `context`: numbers, or a map of them.
        family: of an element.

    Raises:
        ValueError: the network takes no context, or its outputs are not those of the family; by `check`, what the
            family refuses.

    Example:
        >>> from pyrogen.nn import PixelCNN
        >>> network = PixelCNN((1, 8, 8), width=4, blocks=1, context=(3, 8, 8))
        >>> AutoregressiveLikelihood(network).size((1, 8, 8))
        (3, 8, 8)

    References:
        Gulrajani et al. 2016, arXiv:1611.05013; Chen et al. 2016, arXiv:1611.02731.
    """

    network: Any
    family: Family

    def __init__(self, network: nn.Module, family: Family = Bernoulli()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.network, self.family = network, family
        if not network.context:
            raise ValueError(
                f"{type(network).__name__} takes no context, and would not be told of z: build it with one"
            )
        check_outputs(network, family)

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's context."""
        return as_shape(self.network.context)

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> AutoregressiveDistribution:
        """p(x | outputs)."""
        order: Any = {"unit": self.network.unit, "by_pixel": self.network.by_pixel}
        told: Any = {"context": outputs, "context_dim": len(self.size(event_shape))}
        return AutoregressiveDistribution(self.network, self.family, event_shape, **order, **told)

    def point(self, distribution: TorchDistribution) -> Tensor:
        """A draw: no mean can be written down."""
        drawn: Tensor = distribution.sample()
        return drawn

    def check(self, x: Tensor) -> None:
        """Refuse what the family gives no density."""
        self.family.check(x)


def check_outputs(network: Any, family: Family) -> None:
    """Refuse a network whose outputs are not those that the family of an element takes.

    Raises:
        ValueError: naming both numbers, and the remedy.
    """
    expected = math.prod(family.size(network.unit))
    if network.outputs != expected:
        raise ValueError(
            f"{type(network).__name__} gives {network.outputs} numbers for an element, and {type(family).__name__} "
            f"takes {expected}: build it with outputs={expected}"
        )
