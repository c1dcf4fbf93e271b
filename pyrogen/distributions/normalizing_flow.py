"""Normalizing flows: a base bent by transforms, as the density of data and as a prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.transforms import Transform
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrogen.distributions.bijections import Bijection, Bijector
from pyrogen.distributions.couplings import Coupling
from pyrogen.distributions.family import Family
from pyrogen.distributions.priors import Prior, StandardNormal, check_latent
from pyrogen.nn import Shape, as_shape

__all__ = ["Base", "FlowPrior", "NormalizingFlow", "Transforms"]

Transforms = Bijection | Transform | ConditionalTransform | Sequence[Bijection | Transform | ConditionalTransform]
"""What may stand in a flow: definitions of pyrogen's, and Pyro's or torch's transforms, from z to x."""

Base = Distribution | Callable[[], Distribution]
"""A distribution, or what gives one when called, as a `Prior` does; its tensors, if a module, follow the story."""

_LOOKED_AT = 1024
"""Rows that layers start from, and that are looked through for values that repeat."""
_REPEATED, _OFTEN, _LEVELS = 0.05, 20, 256
"""A value may be such a share of elements, or come so often; and as few as grey levels are no continuum."""


class NormalizingFlow(nn.Module):
    """z ~ base,  x = f(z):  log p(x) = log p(z) + log |det dz/dx| at z = f^-1(x). Called, it gives p(x), or p(x | c).

    Args:
        event_shape: shape of x.
        transforms: f, or its parts in order, from z to x.
        base: p(z); a distribution of one number is taken for each number of z. None: standard normal.
        context: how many numbers c there are.

    Raises:
        TypeError: a part is no transform.
        ValueError: when called: the base is of another shape, or events come out in one, or a part needs a context that
            is not given.

    Example:
        >>> from pyro.distributions.transforms import AffineTransform, ExpTransform
        >>> exponential = NormalizingFlow((), [ExpTransform().inv, AffineTransform(0.0, -1.0)], dist.Uniform(0.0, 1.0))
        >>> float(exponential().log_prob(torch.tensor(2.0)))
        -2.0

    References:
        Rezende, Mohamed 2015, arXiv:1505.05770; Papamakarios et al. 2019, arXiv:1912.02762.
    """

    def __init__(self, event_shape: Shape, transforms: Transforms, base: Base | None = None, context: int = 0) -> None:
        super().__init__()
        self.event_shape = shape = as_shape(event_shape)
        self.definitions = list(transforms) if isinstance(transforms, Sequence) else [transforms]
        parts: list[Bijector | _Given] = []
        for definition in reversed(self.definitions):
            part = definition.build(shape, context) if isinstance(definition, Bijection) else _Given(definition, shape)
            parts.append(part)
            shape = part.base_shape
        self.parts = nn.ModuleList(parts)
        self.base_shape = shape
        self.base: Base = StandardNormal(shape) if base is None else base

    def forward(self, context: Tensor | None = None, base: Distribution | None = None) -> dist.TorchDistribution:
        """p(x | context), of batch shape (), or that of `base` where this one takes the place of the flow's own.

        Args:
            context: (..., context).
            base: p(z).
        """
        start = self._base() if base is None else base
        transforms = [part(context) for part in reversed(self.parts)]
        density = dist.TransformedDistribution(start, transforms)
        if start.event_shape != self.base_shape or density.event_shape != self.event_shape:
            raise ValueError(
                f"a flow over {self.event_shape} takes a base over {self.base_shape}, got one over "
                f"{tuple(start.event_shape)}, and events of shape {tuple(density.event_shape)} come out: pass another "
                "base, or transforms that keep the shape"
            )
        return density

    def check(self, x: Tensor) -> None:
        """Refuse what the last of pyrogen's own transforms cannot reach, and values that repeat: grey levels."""
        last = self.definitions[-1] if self.definitions else None
        if isinstance(last, Bijection):
            last.check(x)
        values, counts = _some_rows(x).unique(return_counts=True)
        often = int(counts.argmax())
        share = float(counts[often]) / int(counts.sum())
        said = f"'x' is {float(values[often]):.4g} in {share:.0%} of its elements" if share > _REPEATED else ""
        if len(values) <= _LEVELS:
            said = said or f"'x' takes {len(values)} values alone"
        if said and counts[often] >= _OFTEN:
            raise ValueError(
                f"{said}, and a flow's density grows without bound where values repeat: add noise to (dequantize) them"
            )

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let the layers start from data `x` (n, *event_shape), with their contexts (n, context)."""
        x, context = _some_rows(x), None if context is None else _some_rows(context)
        for part in self.parts:
            x = part.prepare(x, context)  # type: ignore[operator]

    def _base(self) -> Distribution:
        base: Any = self.base if isinstance(self.base, Distribution) else self.base()
        if not base.batch_shape and not base.event_shape:
            base = base.expand(self.base_shape)
        return base.to_event(len(base.batch_shape)) if base.batch_shape else base


def _some_rows(x: Tensor) -> Tensor:
    """At most so many as are looked at, evenly spread."""
    return x[torch.linspace(0, len(x) - 1, min(len(x), _LOOKED_AT), device=x.device).long()]


class _Given(nn.Module):
    """A transform of Pyro's or torch's in a flow."""

    def __init__(self, transform: Any, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        if not isinstance(transform, Transform | ConditionalTransform):
            raise TypeError(
                f"a flow is made of transforms, such as Coupling() or those of pyro.distributions.transforms, got "
                f"{type(transform).__name__}"
            )
        self.transform: Any = transform
        self.base_shape = event_shape
        if isinstance(transform, Transform):
            self.base_shape = tuple(transform.inverse_shape(torch.Size(event_shape)))
        # An inverse is no module itself, and a composition of torch's neither, though their parts may be.
        inside = [] if isinstance(transform, nn.Module) else _parts_of(transform)
        self.held = nn.ModuleList(part for part in inside if isinstance(part, nn.Module))

    def forward(self, context: Tensor | None = None) -> Transform:
        if isinstance(self.transform, ConditionalTransform):
            if context is None:
                raise ValueError(
                    f"{type(self.transform).__name__} needs a context: take ConditionalFlow, with labels y"
                )
            return self.transform.condition(context)
        for module in _parts_of(self.transform):
            for part in module.modules() if isinstance(module, nn.Module) else [module]:
                if getattr(part, "_cache_size", 0):
                    part._cached_x_y = None, None  # of the last step, and of its parameters
        transform: Transform = self.transform
        return transform

    def prepare(self, x: Tensor, context: Tensor | None) -> Tensor:
        z: Tensor = self(context).inv(x)
        return z


def _parts_of(transform: Any) -> list[Any]:
    """The transform and those inside it."""
    inside = [*getattr(transform, "parts", ()), getattr(transform, "base_transform", None)]
    inside.append(transform._inv if type(transform).__name__ == "_InverseTransform" else None)
    return [transform, *(part for one in inside if one is not None for part in _parts_of(one))]


@dataclass(eq=False)
class FlowPrior(nn.Module, Prior):
    """z ~ f(e),  e ~ N(0, I): a learned prior of any shape that the transforms can give it.

    Args:
        latent: number of latents, or their event shape.
        transforms: definitions of f, from e to z.

    Raises:
        ValueError: by `check`, latents of another shape.

    Example:
        >>> FlowPrior(3)().log_prob(torch.zeros(7, 3)).shape
        torch.Size([7])

    References:
        Chen et al. 2016, arXiv:1611.02731.
    """

    latent: Shape
    transforms: Bijection | Sequence[Bijection] = Coupling()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        super().__init__()
        self._shape = self.latent = as_shape(self.latent)
        self.flow = NormalizingFlow(self._shape, self.transforms)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution] | None = None) -> dist.TorchDistribution:
        """The prior."""
        density: dist.TorchDistribution = self.flow()
        return density

    def check(self, latent_shape: tuple[int, ...], posterior: Family | None = None) -> None:
        """Refuse latents of another shape."""
        check_latent(self, self._shape, latent_shape)
