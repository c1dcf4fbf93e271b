"""Noise schedules: the log signal-to-noise ratio at every timestep of a diffusion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class NoiseSchedule(ABC):
    """The log signal-to-noise ratio of every timestep, from `high` down to `low`.

    At a log-SNR of l, z = alpha x + sigma e, e ~ N(0, I), with alpha^2 = 1 / (1 + exp(-l)) and sigma^2 = 1 - alpha^2,
    so that data of variance 1 keep it. At the first timestep sigma is about exp(-high / 2), in units of the data's
    standard deviation, which should be below the finest structure of interest; at the last alpha^2 is about exp(low).

    Args:
        high: log-SNR of the first timestep, 10 by default.
        low: log-SNR of the last timestep, -10 by default.

    Raises:
        ValueError: `high` is not above `low`.

    References:
        Kingma, Salimans, Poole, Ho 2021, arXiv:2107.00630 (a schedule is its log-SNR).
    """

    high: float = 10.0
    low: float = -10.0

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(
                f"{type(self).__name__} needs finite log-SNRs with high above low, such as high=10 and low=-10, got "
                f"high={self.high!r} and low={self.low!r}"
            )

    def log_snr(self, num_timesteps: int) -> Tensor:
        """The log-SNR of every timestep.

        Args:
            num_timesteps: number of timesteps T.

        Returns:
            The log-SNR (T,), decreasing.
        """
        return self.at(torch.linspace(0, 1, num_timesteps, dtype=torch.float64)).to(torch.get_default_dtype())

    @abstractmethod
    def at(self, time: Tensor) -> Tensor:
        """The log-SNR at continuous times.

        Args:
            time: from 0, where the log-SNR is `high`, to 1, where it is `low`.

        Returns:
            The log-SNR, of the shape of `time`.
        """


@dataclass(frozen=True)
class CosineSchedule(NoiseSchedule):
    """alpha = cos(angle), sigma = sin(angle), the angle linear in time: the log-SNR is -2 log tan(angle).

    The paper's offset s = 0.008 corresponds to high = 8.8.

    Example:
        >>> CosineSchedule(high=8.0, low=-8.0).log_snr(3)
        tensor([ 8.0000e+00,  2.2204e-16, -8.0000e+00])

    References:
        Nichol, Dhariwal 2021, arXiv:2102.09672.
    """

    def at(self, time: Tensor) -> Tensor:
        """The log-SNR at continuous times.

        Args:
            time: from 0 to 1.

        Returns:
            The log-SNR, of the shape of `time`.
        """
        first, last = (math.atan(math.exp(-level / 2)) for level in (self.high, self.low))
        return -2 * (first + (last - first) * time).tan().log()


@dataclass(frozen=True)
class LinearBetaSchedule(NoiseSchedule):
    """The noise rate beta is linear in time and ends at 200 times its first value, as in DDPM.

    alpha^2 = exp(-b(time)), b a parabola. DDPM's own, 1e-4 to 0.02 over 1,000 timesteps, is close to high=9.2, low=-10.

    Example:
        >>> LinearBetaSchedule(high=9.0, low=-9.0).log_snr(3)
        tensor([ 9.0000, -2.1638, -9.0000])

    References:
        Ho, Jain, Abbeel 2020, arXiv:2006.11239.
    """

    def at(self, time: Tensor) -> Tensor:
        """The log-SNR at continuous times.

        Args:
            time: from 0 to 1.

        Returns:
            The log-SNR, of the shape of `time`.
        """
        first, last = (softplus(torch.tensor(-level, dtype=time.dtype)) for level in (self.high, self.low))
        slow = 2 / (200 + 1)  # the linear coefficient of b / b(1) for a rate that goes from 1 to 200
        return -(first + (last - first) * (slow * time + (1 - slow) * time**2)).expm1().log()


@dataclass(frozen=True)
class LinearLogSNRSchedule(NoiseSchedule):
    """The log-SNR is linear in time.

    It suits likelihoods: in continuous time every schedule has the same bound, but in discrete time the others place
    few timesteps where the log-SNR is high, and the loss of a step grows with the square of its width.

    Example:
        >>> LinearLogSNRSchedule(high=8.0, low=-8.0).log_snr(3)
        tensor([ 8.,  0., -8.])

    References:
        Kingma, Salimans, Poole, Ho 2021, arXiv:2107.00630 (section 5: schedules and the bound).
    """

    def at(self, time: Tensor) -> Tensor:
        """The log-SNR at continuous times.

        Args:
            time: from 0 to 1.

        Returns:
            The log-SNR, of the shape of `time`.
        """
        return self.high + (self.low - self.high) * time
