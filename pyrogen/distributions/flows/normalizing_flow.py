"""Normalizing flows: a base bent by transforms, as the density of data and as a prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.transforms import Transform
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrogen.distributions.family import Family
from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig
from pyrogen.distributions.flows.couplings import Coupling
from pyrogen.distributions.flows.stock import DistributionModule, TransformModule
from pyrogen.distributions.priors import Prior, StandardNormal, check_latent
from pyrogen.nn import Shape, as_shape

__all__ = ["Base", "FlowPrior", "NormalizingFlow", "Transforms"]

Transforms = (
    BijectionConfig | Transform | ConditionalTransform | Sequence[BijectionConfig | Transform | ConditionalTransform]
)
"""What may stand in a flow: definitions of pyrogen's, and Pyro's or torch's transforms, from z to x."""

Base = Distribution | Callable[[], Distribution]
"""A distribution, or what gives one when called, as a `Prior` does; its tensors, if a module, follow the story."""

_LOOKED_AT = 1024
"""Rows that layers start from, and that are looked through for values that repeat."""
_FEWEST, _REPEATED, _LEVELS = 20, 0.05, 256
"""In how few rows nothing is said to repeat; the share of rows that is too much for one value; 8-bit grey levels."""


class NormalizingFlow(nn.Module):
    """z ~ base,  x = f(z):  log p(x) = log p(z) + log |det dz/dx| at z = f^-1(x). Called, it gives p(x), or p(x | c).

    Args:
        event_shape: shape of x.
        transforms: f, or its parts in order, from z to x.
        base: p(z); a distribution of one number is taken for each number of z. None: standard normal. Its tensors
            follow the flow's device and type.
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
        self.transforms = list(transforms) if isinstance(transforms, Sequence) else [transforms]
        parts: list[Bijection | TransformModule] = []
        for definition in reversed(self.transforms):
            part = (
                definition.build(shape, context)
                if isinstance(definition, BijectionConfig)
                else TransformModule(definition, shape)
            )
            parts.append(part)
            shape = part.base_shape
        self.parts = nn.ModuleList(parts)
        self.base_shape = shape
        start = StandardNormal(shape) if base is None else base
        self.base: Callable[[], Distribution] = DistributionModule(start) if isinstance(start, Distribution) else start

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

    @torch.no_grad()
    def check_invertible(self, context: Tensor | None = None) -> None:
        """Refuse now what no data could be scored by: a base of another shape, or transforms without an inverse."""
        self(context)
        for part in self.parts:
            if isinstance(part, TransformModule):
                part.check_invertible(context)

    def check(self, x: Tensor) -> None:
        """Refuse whole numbers, and what the last of pyrogen's own transforms cannot reach."""
        if not x.is_floating_point():
            kind = str(x.dtype).removeprefix("torch.")
            raise ValueError(f"a flow takes a column 'x' of floating numbers, got {kind}: convert it with x.float()")
        last = self.transforms[-1] if self.transforms else None
        if isinstance(last, BijectionConfig):
            last.check(x)

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let the layers start from data `x` (n, *event_shape), with their contexts (n, context).

        Raises:
            ValueError: what `check` refuses; or values that repeat, such as grey levels. Of at most 1024 rows, evenly
                spread, one value may make up less than a twentieth at each place of an event, and at least half must
                be distinct; fewer than 20 rows tell nothing.
        """
        self.check(x)
        x, context = _some_rows(x), None if context is None else _some_rows(context)
        _refuse_repeats(x)
        for part in self.parts:
            x = part.prepare(x, context)  # type: ignore[operator]

    def _base(self) -> Distribution:
        base: Any = self.base()
        if not base.batch_shape and not base.event_shape:
            base = base.expand(self.base_shape)
        return base.to_event(len(base.batch_shape)) if base.batch_shape else base


def _some_rows(x: Tensor) -> Tensor:
    """At most so many as are looked at, evenly spread."""
    return x[torch.linspace(0, len(x) - 1, min(len(x), _LOOKED_AT), device=x.device).long()]


def _refuse_repeats(x: Tensor) -> None:
    """Refuse rows `x` (n, *event_shape) in which values repeat at some place of an event."""
    n = len(x)
    if n < _FEWEST:
        return
    ordered = x.reshape(n, -1).sort(0).values
    often = max(3, math.ceil(_REPEATED * n))
    common = (ordered[often - 1 :] == ordered[: n - often + 1]).any(0)
    distinct = 1 + (ordered[1:] != ordered[:-1]).sum(0)
    if common.any():
        at = int(common.int().argmax())
        value = ordered[:, at].mode().values
        share = float((ordered[:, at] == value).double().mean())
        said = f"'x' is {float(value):.4g} in {share:.0%} of rows{_place(at, x)}"
    elif (2 * distinct < n).any():
        at = int(distinct.argmin())
        said = f"'x' takes {int(distinct[at])} values in {n} rows{_place(at, x)}"
    elif (levels := len(ordered.unique())) <= min(_LEVELS, ordered.numel() // _FEWEST):
        said = f"'x' takes {levels} values alone"
    else:
        return
    raise ValueError(
        f"{said}, and a flow's density grows without bound where values repeat: add noise to (dequantize) them, or "
        "leave such features out"
    )


def _place(at: int, x: Tensor) -> str:
    """The place of an event, number `at`, as an index of x; nothing for events of one number."""
    index = [int(i) for i in torch.unravel_index(torch.tensor(at), x.shape[1:])] if x.dim() > 1 else []
    return f" at x[{', '.join([':', *map(str, index)])}]" if index else ""


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
    transforms: BijectionConfig | Sequence[BijectionConfig] = Coupling()  # noqa: RUF009 (frozen)

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
