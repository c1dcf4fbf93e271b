"""Flows of the library zuko, as parts of a flow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from pyrogen.distributions.family import without_autocast
from pyrogen.distributions.flows.bijections import Bijection, BijectionConfig, ValueAndLogDet
from pyrogen.distributions.flows.layers import Actnorm, Chain, Flatten

_NAMES = ("BPF", "CNF", "GF", "MAF", "NAF", "NICE", "NSF", "RealNVP", "SOSPF", "UNAF")
"""Flows of zuko over all real vectors. Its NCSF is over angles, and its GMM is a mixture."""


@dataclass(frozen=True)
class ZukoFlow(BijectionConfig):
    """A flow of the library zuko, z = f(x; c), in a story, a prior or a guide, behind an `Actnorm`.

    It is used wherever `Coupling` is: `Flow(2, ZukoFlow("NSF"))` is a story, `FlowPrior(8, ZukoFlow("MAF"))` a prior,
    `FlowPosterior(8, ZukoFlow("MAF", inverse=True))` a guide, and `[ZukoFlow("NSF"), Logit()]` a flow over [0, 1]. Only
    the transforms of zuko's flow are used; the base is that of the story, prior or guide. zuko is imported when the
    flow is built.

    Args:
        name: of a class in `zuko.flows`: "BPF" (Bernstein polynomials), "CNF" (continuous), "GF" (Gaussianization),
            "MAF" (masked autoregressive), "NAF" (neural autoregressive), "NICE" or "RealNVP" (affine couplings), "NSF"
            (splines, masked; couplings with `passes=2`), "SOSPF" (sums of squares), "UNAF" (unconstrained monotonic).
        arguments: of that class other than `features` and `context`, such as `{"transforms": 3, "hidden_features":
            [64, 64]}`; none by default. Of numbers, strings, booleans, lists and dicts a run folder can build the flow
            again; with others, such as an `activation`, `load` needs `into=`.
        inverse: whether f is used from z to x, so that draws take one pass; False by default.

    Raises:
        ValueError: `name` is none of these.

    Example:
        >>> transform = ZukoFlow("MAF", {"transforms": 2}).build((3,))()
        >>> transform.inv(torch.zeros(5, 3)).shape
        torch.Size([5, 3])

    References:
        Rozet et al. 2022, "Zuko: Normalizing flows in PyTorch", doi:10.5281/zenodo.7625672.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    inverse: bool = False

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise ValueError(f"ZukoFlow: name is one of {', '.join(_NAMES)}, got {self.name!r}")

    @property
    def sequential_log_prob(self) -> bool:  # type: ignore[override]
        """Whether the density takes one pass for each element."""
        return self.inverse and self.name not in ("CNF", "GF", "NICE", "RealNVP") and "passes" not in self.arguments

    def build(self, event_shape: tuple[int, ...], context: int = 0) -> Bijection:
        """Make the flow.

        Args:
            event_shape: shape of x, which is flattened.
            context: size of the context, 0 by default: none.

        Returns:
            The flow, with new parameters.

        Raises:
            ValueError: zuko's class does not take the arguments.
        """
        size = math.prod(event_shape)
        try:
            flow = getattr(import_zuko().flows, self.name)(size, context, **self.arguments)
        except TypeError as error:
            raise ValueError(f"zuko.flows.{self.name} does not take these arguments: {error}") from None
        return Chain([Flatten(event_shape), Actnorm((size,)), _ZukoTransform(size, flow.transform, self.inverse)])


def import_zuko() -> Any:
    """Import zuko, and undo that its import switches the validation of torch's distributions off.

    Returns:
        The module `zuko`.
    """
    validated = Distribution._validate_args
    import zuko

    Distribution.set_default_validate_args(validated)
    return zuko


class _ZukoTransform(Bijection):
    """A lazy transform of zuko's; under autocast it computes in full precision, its log-determinant among it."""

    def __init__(self, size: int, transform: Any, inverse: bool) -> None:
        super().__init__((size,))
        self.transform, self.inverse = transform, inverse

    def to_base(self, x: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """z and log |det dz/dx|."""
        return self._apply_transform(x, context, self.inverse)

    def to_data(self, z: Tensor, context: Tensor | None) -> ValueAndLogDet:
        """x and log |det dx/dz|."""
        return self._apply_transform(z, context, not self.inverse)

    def _apply_transform(self, event: Tensor, context: Tensor | None, inverse: bool) -> ValueAndLogDet:
        with without_autocast(event):
            transform = self.transform(None if context is None else context.to(event.dtype))
            value, log_det = (transform.inv if inverse else transform).call_and_ladj(event)
        return value, log_det
