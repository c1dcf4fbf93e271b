"""Normalizing flows: a base distribution and its transforms, as the density of data and as a prior."""

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

from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig
from pyrogen.distributions.flows.couplings import Coupling
from pyrogen.distributions.flows.wrappers import DistributionModule, TransformModule
from pyrogen.distributions.priors import Prior, StandardNormal
from pyrogen.nn import Shape, as_shape

Transforms = (
    BijectionConfig | Transform | ConditionalTransform | Sequence[BijectionConfig | Transform | ConditionalTransform]
)
"""What a flow can be made of: configurations of pyrogen's, and Pyro's or torch's transforms, in order from z to x."""

Base = Distribution | Callable[[], Distribution]
"""A distribution, or a callable that gives one, as a `Prior` does; the tensors of a module follow the story."""

_MAX_ROWS = 1024
"""Largest number of rows that layers are initialized from and that are searched for repeated values."""
_MIN_ROWS, _MAX_SHARE, _LEVELS = 20, 0.05, 256
"""Rows below which no value counts as repeated; share of rows above which one does; number of 8-bit grey levels."""


class NormalizingFlow(nn.Module):
    """z ~ base,  x = f(z):  log p(x) = log p(z) + log |det dz/dx| at z = f^-1(x), or p(x | c) given a context c.

    Args:
        event_shape: shape of x.
        transforms: f, or its parts in order from z to x; a part that is no transform is a TypeError.
        base: p(z); a distribution of scalars is expanded to the shape of z. None, the default: standard normal. Its
            tensors follow the flow's device and dtype.
        context: size of the context c, 0 by default: none.

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
        self.transforms: list[Any] = list(transforms) if isinstance(transforms, Sequence) else [transforms]
        parts: list[Bijection | TransformModule] = []
        for each in reversed(self.transforms):
            part = each.build(shape, context) if isinstance(each, BijectionConfig) else TransformModule(each, shape)
            parts.append(part)
            shape = part.base_shape
        self.parts = nn.ModuleList(parts)
        self.base_shape = shape
        start = StandardNormal(shape) if base is None else base
        self.base: Callable[[], Distribution] = DistributionModule(start) if isinstance(start, Distribution) else start

    def forward(self, context: Tensor | None = None, base: Distribution | None = None) -> dist.TorchDistribution:
        """The distribution p(x), or p(x | context).

        Args:
            context: (..., context); None, the default: none.
            base: p(z), in place of the flow's own; None, the default: the flow's own.

        Returns:
            A distribution of event shape `event_shape`, its batch shape that of base and context.

        Raises:
            ValueError: the base has another shape than the transforms take, or their events another shape than x.
        """
        start = self._base() if base is None else base
        transforms = [part(context) for part in reversed(self.parts)]
        density = dist.TransformedDistribution(start, transforms)
        if start.event_shape != self.base_shape or density.event_shape != self.event_shape:
            raise ValueError(
                f"a flow over events of shape {self.event_shape} needs a base of event shape {self.base_shape}, got "
                f"{tuple(start.event_shape)}, which is transformed to {tuple(density.event_shape)}: pass another base, "
                "or transforms that keep the shape"
            )
        return density

    @torch.no_grad()
    def check_invertible(self, context: Tensor | None = None) -> None:
        """Check before training that densities can be computed; otherwise raise a ValueError.

        Args:
            context: of one event, (context,); None, the default: none.
        """
        self(context)
        for part in self.parts:
            if isinstance(part, TransformModule):
                part.check_invertible(context)

    def check(self, x: Tensor) -> None:
        """Check that data are floating-point numbers in the range of the last transform, if that is pyrogen's.

        Args:
            x: data (n, *event_shape).

        Raises:
            ValueError: they are integers, or the transform refuses them.
        """
        if not x.is_floating_point():
            kind = str(x.dtype).removeprefix("torch.")
            raise ValueError(
                f"a flow needs a column 'x' of floating-point numbers, got {kind}: convert it with x.float()"
            )
        last = self.transforms[-1] if self.transforms else None
        if isinstance(last, BijectionConfig):
            last.check(x)

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the layers from data, after a check that values do not repeat, as grey levels do.

        Of at most 1024 rows, evenly spaced, any one value may make up less than a twentieth at each position of an
        event, and at least half of the values there must be distinct; fewer than 20 rows are not checked. Otherwise, or
        where `check` fails, there is a ValueError.

        Args:
            x: training data (n, *event_shape).
            context: their contexts (n, context); None, the default: none.
        """
        self.check(x)
        rows = torch.linspace(0, len(x) - 1, min(len(x), _MAX_ROWS), device=x.device).long()
        x, context = x[rows], None if context is None else context[rows]
        _refuse_repeated_values(x)
        for part in self.parts:
            x = part.prepare(x, context)  # type: ignore[operator]

    def _base(self) -> Distribution:
        base: Any = self.base()
        if not base.batch_shape and not base.event_shape:
            base = base.expand(self.base_shape)
        return base.to_event(len(base.batch_shape)) if base.batch_shape else base


def _refuse_repeated_values(x: Tensor) -> None:
    """Raise a ValueError if values of `x` (n, *event_shape) repeat at some position of an event."""
    n = len(x)
    if n < _MIN_ROWS:
        return
    ordered = x.reshape(n, -1).sort(0).values
    limit = max(3, math.ceil(_MAX_SHARE * n))
    common = (ordered[limit - 1 :] == ordered[: n - limit + 1]).any(0)
    distinct = 1 + (ordered[1:] != ordered[:-1]).sum(0)
    if common.any():
        at = int(common.int().argmax())
        value = ordered[:, at].mode().values
        share = float((ordered[:, at] == value).double().mean())
        problem = f"'x' is {float(value):.4g} in {share:.0%} of rows{_position(at, x)}"
    elif (2 * distinct < n).any():
        at = int(distinct.argmin())
        problem = f"'x' has only {int(distinct[at])} distinct values in {n} rows{_position(at, x)}"
    elif (levels := len(ordered.unique())) <= min(_LEVELS, ordered.numel() // _MIN_ROWS):
        problem = f"'x' has only {levels} distinct values"
    else:
        return
    raise ValueError(
        f"{problem}, and a flow's density grows without bound where values repeat: add noise to (dequantize) them, or "
        "leave such features out"
    )


def _position(at: int, x: Tensor) -> str:
    """Element number `at` of an event as an index of x; nothing for scalar events."""
    index = [int(i) for i in torch.unravel_index(torch.tensor(at), x.shape[1:])] if x.dim() > 1 else []
    return f" at x[{', '.join([':', *map(str, index)])}]" if index else ""


@dataclass(eq=False)
class FlowPrior(nn.Module, Prior):
    """z ~ f(e),  e ~ N(0, I): a learned prior as flexible as its transforms.

    Args:
        latent: number of latents, or their event shape.
        transforms: f, or its parts in order from e to z, `Coupling()` by default; `ZukoFlow("NSF")` is one of zuko's.

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
        self.latent_shape = self.latent = as_shape(self.latent)
        self.flow = NormalizingFlow(self.latent_shape, self.transforms)

    def forward(self, encode: Callable[[Tensor], dist.TorchDistribution] | None = None) -> dist.TorchDistribution:
        """The prior.

        Args:
            encode: not used.

        Returns:
            A distribution of batch shape ().
        """
        return self.flow()
