"""Parametrizations of the covariance of a Gaussian: full, diagonal, or spherical."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import ReshapeTransform


@dataclass(frozen=True)
class Covariance(ABC):
    """A parametrization of a covariance C over D features by unconstrained numbers r, which a story keeps as parameter.

    No variance falls below floor^2, nor does a feature's conditional variance given those before it, so that no density
    exceeds (2 pi floor^2)^(-D/2): the likelihood is bounded also where features are constant or a component collapses
    on one datum.

    Args:
        floor: smallest standard deviation, in the units of the data, 0.0001 by default; its square is scikit-learn's
            `reg_covar`.

    Raises:
        ValueError: `floor` is negative.
    """

    floor: float = 1e-4

    def __post_init__(self) -> None:
        if not self.floor >= 0:
            raise ValueError(f"{type(self).__name__} needs a floor of at least 0, got floor={self.floor!r}")

    @abstractmethod
    def size(self, features: int) -> tuple[int, ...]:
        """The shape of r.

        Args:
            features: number of features D.

        Returns:
            The shape.
        """

    @abstractmethod
    def __call__(self, mean: Tensor, raw: Tensor) -> dist.TorchDistribution:
        """The Gaussian N(mean, C(r)).

        Args:
            mean: (..., D), in the units of the data.
            raw: the numbers r, (..., *size(D)).

        Returns:
            A distribution of event shape (D,).
        """

    @abstractmethod
    def estimate(self, x: Tensor) -> Tensor:
        """The r of the maximum-likelihood covariance about the mean, plus floor^2 I.

        Args:
            x: data (N, D).

        Returns:
            r, of shape `size(D)`; a ValueError where the data have less than full rank and `floor` is 0.
        """

    def _scale(self, raw: Tensor) -> Tensor:
        """The standard deviations (floor^2 + exp(2 r))^1/2."""
        return (self.floor**2 + (2 * raw).exp()).sqrt()

    def _raw(self, variance: Tensor) -> Tensor:
        """The r of standard deviations whose squares are `variance` + floor^2."""
        least = float(variance.amin())
        if not self.floor and not least > 1e-12 * float(variance.amax()):
            raise ValueError(
                f"the likelihood has no maximum: the data have variance {max(least, 0.0):.3g} in some direction: add "
                f"noise to (dequantize) them, or use {type(self).__name__}(floor=1e-4), which adds floor^2"
            )
        return variance.clamp(min=max(1e-6 * self.floor**2, 1e-300)).log() / 2


@dataclass(frozen=True)
class Full(Covariance):
    """C = L L' with L = diag(s) (I + T), T below the diagonal: (D, D) raw numbers, those above the diagonal unused.

    s_d is the standard deviation of feature d given those before it; T has no units.

    Example:
        >>> Full()(torch.zeros(5, 3), torch.zeros(5, 3, 3)).covariance_matrix.shape
        torch.Size([5, 3, 3])
    """

    def size(self, features: int) -> tuple[int, ...]:
        """The shape of r: a matrix.

        Args:
            features: number of features D.

        Returns:
            (D, D).
        """
        return features, features

    def __call__(self, mean: Tensor, raw: Tensor) -> dist.TorchDistribution:
        """N(mean, L L')."""
        scale = self._scale(raw.diagonal(dim1=-2, dim2=-1))
        return dist.MultivariateNormal(mean, scale_tril=scale[..., None] * raw.tril(-1) + scale.diag_embed())

    def estimate(self, x: Tensor) -> Tensor:
        """The r of the covariance of the data, with N in the denominator, plus floor^2 I.

        Args:
            x: data (N, D).

        Returns:
            r (D, D).
        """
        centred, ridge = x.double() - x.double().mean(0), torch.full_like(x[0], self.floor**2, dtype=torch.float64)
        scale, failed = torch.linalg.cholesky_ex(centred.T @ centred / len(x) + ridge.diag())
        conditional = scale.diagonal()
        raw = self._raw(torch.where(failed == 0, conditional.square() - self.floor**2, 0.0))
        return (scale.tril(-1) / conditional[:, None] + raw.diag()).to(x.dtype)


@dataclass(frozen=True)
class Diagonal(Covariance):
    """C = diag(s_1^2, ..., s_D^2): (D,) raw numbers.

    Example:
        >>> Diagonal()(torch.zeros(5, 3), torch.zeros(3)).log_prob(torch.zeros(3)).shape
        torch.Size([5])
    """

    def size(self, features: int) -> tuple[int, ...]:
        """The shape of r: one number for each feature.

        Args:
            features: number of features D.

        Returns:
            (D,).
        """
        return (features,)

    def __call__(self, mean: Tensor, raw: Tensor) -> dist.TorchDistribution:
        """N(mean, diag(s^2))."""
        return dist.Normal(mean, self._scale(raw)).to_event(1)

    def estimate(self, x: Tensor) -> Tensor:
        """The r of the variances of the features, with N in the denominator, plus floor^2.

        Args:
            x: data (N, D).

        Returns:
            r (D,).
        """
        return self._raw(x.double().var(0, correction=0)).to(x.dtype)


@dataclass(frozen=True)
class Spherical(Diagonal):
    """C = s^2 I: one raw number.

    Example:
        >>> Spherical().estimate(torch.tensor([[0.0, 2.0], [2.0, 0.0]])).exp()
        tensor([1.])
    """

    def size(self, features: int) -> tuple[int, ...]:
        """The shape of r: one number for all features.

        Args:
            features: number of features D.

        Returns:
            (1,).
        """
        return (1,)

    def estimate(self, x: Tensor) -> Tensor:
        """The r of the mean variance of the features, plus floor^2.

        Args:
            x: data (N, D).

        Returns:
            r (1,).
        """
        return self._raw(x.double().var(0, correction=0).mean(0, keepdim=True)).to(x.dtype)


def reshape_events(vectors: dist.TorchDistribution, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
    """Reshape the events of a distribution of vectors.

    Args:
        vectors: a distribution of event shape (D,).
        event_shape: a shape of D elements.

    Returns:
        The distribution of the reshaped events.

    Example:
        >>> reshape_events(Full()(torch.zeros(4), torch.zeros(4, 4)), (1, 2, 2)).sample((3,)).shape
        torch.Size([3, 1, 2, 2])
    """
    if tuple(vectors.event_shape) == event_shape:
        return vectors
    return dist.TransformedDistribution(vectors, [ReshapeTransform(vectors.event_shape, torch.Size(event_shape))])
