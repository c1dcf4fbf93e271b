"""Autoregressive likelihoods p(x | z), and the check of their networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions.autoregressive import AutoregressiveDistribution
from pyrogen.distributions.family import Family
from pyrogen.distributions.likelihoods import Bernoulli
from pyrogen.nn import as_shape


@dataclass(eq=False, init=False)
class AutoregressiveLikelihood(nn.Module, Family):
    """An autoregressive likelihood conditioned on the decoder's outputs: PixelVAE's.

    p(x | z) = prod_i p(x_i | x_<i, decoder(z)). A network with enough capacity ignores z: the posterior then collapses,
    of which training warns. One with a small receptive field leaves more to z.

    Args:
        network: an autoregressive one, such as `GatedPixelCNN`, built with a `context`: a vector or a feature map.
        family: of an element, `Bernoulli()` by default.

    Raises:
        ValueError: the network takes no context.

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
                f"{type(network).__name__} takes no context, so that p(x | z) would not depend on z: build it with "
                "context=(features,) or context=(channels, height, width)"
            )
        check_outputs(network, family)

    def size(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of the network's context, which the decoder gives.

        Args:
            event_shape: not used.

        Returns:
            The shape of the context.
        """
        return as_shape(self.network.context)

    def forward(self, outputs: Tensor, event_shape: tuple[int, ...]) -> AutoregressiveDistribution:
        """The distribution p(x | outputs).

        Args:
            outputs: contexts (..., *size(event_shape)).
            event_shape: shape of one datum.

        Returns:
            A distribution of batch shape (...).
        """
        order: Any = {"unit": self.network.unit, "by_pixel": self.network.by_pixel}
        context: Any = {"context": outputs, "context_dim": len(self.size(event_shape))}
        return AutoregressiveDistribution(self.network, self.family, event_shape, **order, **context)

    def point(self, distribution: TorchDistribution) -> Tensor:
        """One draw, as there is no closed form of the mean.

        Args:
            distribution: one that the family made.

        Returns:
            A value (*batch_shape, *event_shape).
        """
        return distribution.sample()

    def check(self, x: Tensor) -> None:
        """Check that every datum has a density under the family of its elements.

        Args:
            x: data (n, *event_shape).
        """
        self.family.check(x)


def check_outputs(network: Any, family: Family) -> None:
    """Check that a network gives as many numbers for an element as its family takes.

    Args:
        network: an autoregressive one, with attributes `outputs` and `unit`.
        family: of an element.

    Raises:
        ValueError: the numbers differ.
    """
    expected = math.prod(family.size(network.unit))
    if network.outputs != expected:
        raise ValueError(
            f"{type(network).__name__} gives {network.outputs} numbers for an element, and {type(family).__name__} "
            f"takes {expected}: build it with outputs={expected}"
        )
