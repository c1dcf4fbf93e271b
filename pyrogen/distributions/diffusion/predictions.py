"""Prediction targets of a diffusion's network, and the datum that each stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


class Prediction(ABC):
    """A prediction target: a quantity from which, given z = alpha x + sigma e, both x and e follow.

    All targets determine the same x; they differ in how hard they are to predict at which noise.
    """

    @abstractmethod
    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The datum that outputs stand for.

        Args:
            outputs: of the network, in the shape of `z`.
            z: noisy data (..., *event_shape).
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            x, in the shape of `z`.
        """

    @abstractmethod
    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The outputs that stand for a datum: the inverse of `Prediction.x`.

        Args:
            x: data (..., *event_shape).
            z: noisy data, in the shape of `x`.
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            The outputs, in the shape of `z`.
        """


@dataclass(frozen=True)
class PredictX(Prediction):
    """The outputs are x itself.

    Example:
        >>> import torch
        >>> PredictX().x(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.8))
        tensor(2.)
    """

    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The datum that outputs stand for.

        Args:
            outputs: of the network, in the shape of `z`.
            z: noisy data (..., *event_shape).
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            The outputs themselves, in the shape of `z`.
        """
        return outputs

    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The outputs that stand for a datum.

        Args:
            x: data (..., *event_shape).
            z: noisy data, in the shape of `x`.
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            x itself, in the shape of `z`.
        """
        return x


@dataclass(frozen=True)
class PredictNoise(Prediction):
    """The outputs are the noise e: x = (z - sigma e) / alpha, which amplifies errors where alpha is small.

    Example:
        >>> import torch
        >>> PredictNoise().x(torch.tensor(0.5), torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.8))
        tensor(1.)

    References:
        Ho, Jain, Abbeel 2020, arXiv:2006.11239.
    """

    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The datum that outputs stand for.

        Args:
            outputs: of the network, in the shape of `z`.
            z: noisy data (..., *event_shape).
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            (z - sigma e) / alpha, in the shape of `z`.
        """
        return (z - sigma * outputs) / alpha

    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The outputs that stand for a datum.

        Args:
            x: data (..., *event_shape).
            z: noisy data, in the shape of `x`.
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            (z - alpha x) / sigma, in the shape of `z`.
        """
        return (z - alpha * x) / sigma


@dataclass(frozen=True)
class PredictV(Prediction):
    """The outputs are v = alpha e - sigma x: nearly the noise at high SNR, nearly the negative datum at low SNR.

    x = alpha z - sigma v, which amplifies errors at no timestep.

    Example:
        >>> import torch
        >>> PredictV().x(torch.tensor(-0.5), torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.8))
        tensor(1.)

    References:
        Salimans, Ho 2022, arXiv:2202.00512.
    """

    def x(self, outputs: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The datum that outputs stand for.

        Args:
            outputs: of the network, in the shape of `z`.
            z: noisy data (..., *event_shape).
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            alpha z - sigma v, in the shape of `z`.
        """
        return alpha * z - sigma * outputs

    def outputs(self, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The outputs that stand for a datum.

        Args:
            x: data (..., *event_shape).
            z: noisy data, in the shape of `x`.
            alpha: factor of the data in z, which broadcasts against it.
            sigma: standard deviation of the noise in z, which broadcasts against it.

        Returns:
            (alpha z - x) / sigma, in the shape of `z`.
        """
        return (alpha * z - x) / sigma
