"""What is free in the covariance of a Gaussian: everything, one variance for each feature, or one for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import ReshapeTransform

__all__ = ["Covariance", "Diagonal", "Full", "Spherical", "reshape_events"]


@dataclass(frozen=True)
class Covariance(ABC):
    """A kind of covariance C over D features, chosen by raw numbers r that a story keeps as a parameter.

    No variance falls below floor^2, that of a feature given those before it included, so that no density exceeds
    (2 pi floor^2)^(-D/2): the likelihood stays bounded where features are constant or a component closes on one datum.

    Args:
        floor: smallest standard deviation, in the units of the data; its square is what scikit-learn calls `reg_covar`.

    Raises:
        ValueError: `floor` is negative; by `estimate`, data of less than full rank while `floor` is 0.
    """

    floor: float = 1e-4

    def __post_init__(self) -> None:
        if not self.floor >= 0:
            raise ValueError(f"{type(self).__name__} needs a floor of at least 0, got floor={self.floor!r}")

    @abstractmethod
    def size(self, features: int) -> tuple[int, ...]:
        """The shape of r for D features."""

    @abstractmethod
    def __call__(self, mean: Tensor, raw: Tensor) -> dist.TorchDistribution:
        """N(mean, C(r)), event shape (D,), for `mean` (..., D) and `raw` (..., *size(D))."""

    @abstractmethod
    def estimate(self, x: Tensor) -> Tensor:
        """The r of the maximum-likelihood covariance of `x` (N, D) about its mean, plus floor^2 I."""

    def _scale(self, raw: Tensor) -> Tensor:
        """The standard deviations (floor^2 + exp(2 r))^1/2."""
        return (self.floor**2 + (2 * raw).exp()).sqrt()

    def _raw(self, variance: Tensor) -> Tensor:
        """The r of standard deviations whose squares are `variance` + floor^2."""
        least = float(variance.amin())
        if not self.floor and not least > 1e-12 * float(variance.amax()):
            raise ValueError(
                f"the likelihood has no maximum: the data have variance {max(least, 0.0):.3g} in a direction. Add "
                f"noise to (dequantize) them, or take {type(self).__name__}(floor=1e-4), which adds floor^2"
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
        """A matrix."""
        return features, features

    def __call__(self, mean: Tensor, raw: Tensor) -> dist.TorchDistribution:
        """N(mean, L L')."""
        scale = self._scale(raw.diagonal(dim1=-2, dim2=-1))
        return dist.MultivariateNormal(mean, scale_tril=scale[..., None] * raw.tril(-1) + scale.diag_embed())

    def estimate(self, x: Tensor) -> Tensor:
        """The r of the covariance over N, plus floor^2 I."""
        centred, ridge = x.double() - x.double().mean(0), torch.full_like(x[0], self.floor**2, dtype=torch.float64)
        scale, failed = torch.linalg.cholesky_ex(centred.T @ centred / len(x) + ridge.diag())
        given = scale.diagonal()
        raw = self._raw(torch.where(failed == 0, given.square() - self.floor**2, 0.0))
        return (scale.tril(-1) / given[:, None] + raw.diag()).to(x.dtype)


@dataclass(frozen=True)
class Diagonal(Covariance):
    """C = diag(s_1^2, ..., s_D^2): (D,) raw numbers.

    Example:
        >>> Diagonal()(torch.zeros(5, 3), torch.zeros(3)).log_prob(torch.zeros(3)).shape
        torch.Size([5])
    """

    def size(self, features: int) -> tuple[int, ...]:
        """One for each feature."""
        return (features,)

    def __call__(self, mean: Tensor, raw: Tensor) -> dist.TorchDistribution:
        """N(mean, diag(s^2))."""
        return dist.Normal(mean, self._scale(raw)).to_event(1)

    def estimate(self, x: Tensor) -> Tensor:
        """The r of the variances over N, plus floor^2."""
        return self._raw(x.double().var(0, correction=0)).to(x.dtype)


@dataclass(frozen=True)
class Spherical(Diagonal):
    """C = s^2 I: one raw number.

    Example:
        >>> Spherical().estimate(torch.tensor([[0.0, 2.0], [2.0, 0.0]])).exp()
        tensor([1.])
    """

    def size(self, features: int) -> tuple[int, ...]:
        """One for all features."""
        return (1,)

    def estimate(self, x: Tensor) -> Tensor:
        """The r of the mean variance of the features, plus floor^2."""
        return self._raw(x.double().var(0, correction=0).mean(0, keepdim=True)).to(x.dtype)


def reshape_events(vectors: dist.TorchDistribution, event_shape: tuple[int, ...]) -> dist.TorchDistribution:
    """A distribution of vectors (D,) as one of events that flatten to them.

    Example:
        >>> reshape_events(Full()(torch.zeros(4), torch.zeros(4, 4)), (1, 2, 2)).sample((3,)).shape
        torch.Size([3, 1, 2, 2])
    """
    if tuple(vectors.event_shape) == event_shape:
        return vectors
    return dist.TransformedDistribution(vectors, [ReshapeTransform(vectors.event_shape, torch.Size(event_shape))])
