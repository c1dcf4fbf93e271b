"""What the network of a diffusion predicts, and how the datum is read off it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

__all__ = ["PredictNoise", "PredictV", "PredictX", "Prediction"]


class Prediction(ABC):
    """A quantity that, beside z = alpha x + sigma e, tells x and e: what a network's outputs stand for.

    All say the same of x; they differ in what a network finds easy at which noise.
    """

    @abstractmethod
    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The datum x that the outputs stand for, in the shape of `z`."""

    @abstractmethod
    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The outputs that stand for `x`: the inverse of `Prediction.x`."""


@dataclass(frozen=True)
class PredictX(Prediction):
    """The outputs are x itself.

    Example:
        >>> import torch
        >>> PredictX().x(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.8))
        tensor(2.)
    """

    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The outputs."""
        return outputs

    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x."""
        return x


@dataclass(frozen=True)
class PredictNoise(Prediction):
    """The outputs are the noise e: x = (z - sigma e) / alpha, whose error is multiplied where alpha is small.

    Example:
        >>> import torch
        >>> PredictNoise().x(torch.tensor(0.5), torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.8))
        tensor(1.)

    References:
        Ho, Jain, Abbeel 2020, arXiv:2006.11239.
    """

    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z - sigma e) / alpha."""
        return (z - sigma * outputs) / alpha

    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z - alpha x) / sigma."""
        return (z - alpha * x) / sigma


@dataclass(frozen=True)
class PredictV(Prediction):
    """The outputs are v = alpha e - sigma x: the noise where there is little of it, the datum where there is much.

    x = alpha z - sigma v: no error is multiplied at any level.

    Example:
        >>> import torch
        >>> PredictV().x(torch.tensor(-0.5), torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.8))
        tensor(1.)

    References:
        Salimans, Ho 2022, arXiv:2202.00512.
    """

    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """alpha z - sigma v."""
        return alpha * z - sigma * outputs

    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(alpha z - x) / sigma."""
        return (alpha * z - x) / sigma
