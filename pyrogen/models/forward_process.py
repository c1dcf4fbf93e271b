"""The forward process of a diffusion, which adds noise to a datum timestep by timestep, and its reversal."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import NoiseSchedule
from pyrogen.models.checks import is_number_between

Timestep = int | Tensor
"""A timestep, 1 to T, or an int64 tensor of them."""


class Noising(nn.Module):
    """q(z_t | x) = N(alpha_t x, sigma_t^2 I) at timesteps t = 1, ..., T, with increasing noise.

    z_t is alpha_t / alpha_s of z_s, for s < t, and noise of variance sigma_t^2 c, where c = 1 - SNR_t / SNR_s is the
    share of the noise that is new. In reverse, by Bayes' rule,

    q(z_s | z_t, x) = N(alpha_s ((1 - c) z_t / alpha_t + c x), sigma_s^2 c I).

    Args:
        num_timesteps: number of timesteps T.
        schedule: their log signal-to-noise ratios.
        event_dim: number of dimensions of an event.

    Attributes:
        log_snr: log(alpha_t^2 / sigma_t^2), (T,).
        alphas: alpha_t, (T,).
        sigmas: sigma_t, (T,).
        times: the timesteps on a scale from 0 to 1 that is linear in log-SNR, (T,).

    Example:
        >>> from pyrogen.distributions import CosineSchedule
        >>> noising = Noising(10, CosineSchedule(), event_dim=1)
        >>> noising.marginal(torch.zeros(5, 2), torch.tensor([1, 2, 5, 9, 10])).rsample().shape
        torch.Size([5, 2])

    References:
        Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli 2015, arXiv:1503.03585; Kingma, Salimans, Poole, Ho 2021,
        arXiv:2107.00630 (appendix A).
    """

    def __init__(self, num_timesteps: int, schedule: NoiseSchedule, event_dim: int) -> None:
        super().__init__()
        self.event_dim, log_snr = event_dim, schedule.log_snr(num_timesteps)
        self.log_snr = nn.Buffer(log_snr, persistent=False)
        self.times = nn.Buffer((schedule.high - log_snr) / (schedule.high - schedule.low), persistent=False)
        self.alphas = nn.Buffer(log_snr.sigmoid().sqrt(), persistent=False)
        self.sigmas = nn.Buffer((-log_snr).sigmoid().sqrt(), persistent=False)

    def alpha(self, t: Timestep) -> Tensor:
        """The coefficient of the datum.

        Args:
            t: timesteps, (...).

        Returns:
            (..., 1, ..., 1), with as many ones as an event has dimensions.
        """
        return self._broadcastable(self.alphas[t - 1])

    def sigma(self, t: Timestep) -> Tensor:
        """The standard deviation of the noise.

        Args:
            t: timesteps, (...).

        Returns:
            (..., 1, ..., 1), with as many ones as an event has dimensions.
        """
        return self._broadcastable(self.sigmas[t - 1])

    def time(self, t: Timestep) -> Tensor:
        """The timesteps on a scale from 0 to 1 that is linear in log-SNR, which is the network's input.

        Args:
            t: timesteps, (...).

        Returns:
            (...).
        """
        return self.times[t - 1]

    def relative_snr_gain(self, t: Timestep) -> Tensor:
        """SNR_{t-1} / SNR_t - 1.

        Args:
            t: timesteps, (...), from 2 on.

        Returns:
            (...).
        """
        return torch.expm1(self.log_snr[t - 2] - self.log_snr[t - 1])

    def snr(self, t: Timestep) -> Tensor:
        """The signal-to-noise ratio alpha^2 / sigma^2.

        Args:
            t: timesteps, (...).

        Returns:
            (...).
        """
        return self.log_snr[t - 1].exp()

    def marginal(self, x: Tensor, t: Timestep) -> dist.TorchDistribution:
        """q(z_t | x).

        Args:
            x: data, (..., *event_shape).
            t: timesteps, (...).

        Returns:
            Batch shape (...), event shape that of x.
        """
        return dist.Normal(self.alpha(t) * x, self.sigma(t)).to_event(self.event_dim)

    def reverse_moments(
        self, z: Tensor, t: Timestep, s: Timestep, x: Tensor, eta: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z_s given z_t and x.

        Args:
            z: z_t, (..., *event_shape).
            t: timesteps, (...).
            s: earlier timesteps, (...), below t.
            x: data, or predictions of them, (..., *event_shape).
            eta: share of the noise that is drawn anew: 1 by default, which gives the moments of q(z_s | z_t, x); with 0
                nothing is drawn (DDIM; Song, Meng, Ermon 2020, arXiv:2010.02502). The rest is the noise that z_t
                implies, so that q(z_s | x) is the same for every eta.

        Returns:
            The mean (..., *event_shape), and the standard deviation (..., 1, ..., 1).
        """
        fresh = eta**2 * -self._broadcastable(torch.expm1(self.log_snr[t - 1] - self.log_snr[s - 1]))
        noise = (z - self.alpha(t) * x) / self.sigma(t)
        mean = self.alpha(s) * x + self.sigma(s) * (1 - fresh).sqrt() * noise
        return mean, self.sigma(s) * fresh.sqrt()

    def reverse_conditional(self, z: Tensor, t: Timestep, x: Tensor) -> dist.TorchDistribution:
        """q(z_{t-1} | z_t, x).

        Args:
            z: z_t, (..., *event_shape).
            t: timesteps, (...), from 2 on.
            x: data, or predictions of them, (..., *event_shape).

        Returns:
            Batch shape (...), event shape that of x.
        """
        return dist.Normal(*self.reverse_moments(z, t, t - 1, x)).to_event(self.event_dim)

    def spaced_timesteps(self, steps: int | None = None) -> list[int]:
        """Timesteps from T down to 1, evenly spaced.

        Args:
            steps: number of transitions between them; T - 1 by default, every timestep.

        Returns:
            steps + 1 timesteps, in decreasing order.

        Raises:
            ValueError: `steps` is not a whole number from 1 to T - 1.
        """
        last, most = len(self.alphas), len(self.alphas) - 1
        if steps is not None and not is_number_between(steps, 1, most, int):
            raise ValueError(f"a diffusion of {last} timesteps takes steps from 1 to {most}, got steps={steps!r}")
        return torch.linspace(last, 1, (steps or most) + 1, dtype=torch.float64).round().long().tolist()

    @torch.no_grad()
    def reverse_trajectory(
        self, z: Tensor, timesteps: Sequence[int], denoise: Callable[[Tensor, int], Tensor], eta: float = 1.0
    ) -> Iterator[tuple[int, Tensor]]:
        """Draws of z_t at decreasing timesteps, each given the one before, without gradients.

        Args:
            z: z_t at the first timestep, (..., *event_shape).
            timesteps: the timesteps to visit, in decreasing order.
            denoise: from z_t (..., *event_shape) and t to the prediction of x, (..., *event_shape).
            eta: as that of `reverse_moments`; 1 by default.

        Yields:
            Each timestep t and z_t, (..., *event_shape); first what was passed.
        """
        yield timesteps[0], z
        for t, s in itertools.pairwise(timesteps):
            mean, std = self.reverse_moments(z, t, s, denoise(z, t), eta)
            z = mean + std * torch.randn_like(mean) if eta else mean
            yield s, z

    def _broadcastable(self, table: Tensor) -> Tensor:
        """Values (...) of timesteps as (..., 1, ..., 1), with as many ones as an event has dimensions."""
        return table.reshape((*table.shape, *[1] * self.event_dim))
