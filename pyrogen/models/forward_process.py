"""The chain of ever noisier copies of a datum that a diffusion goes down."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import NoiseSchedule

__all__ = ["Level", "Noising", "is_between"]

Level = int | Tensor
"""One level of the chain, 1 to T, or an int64 tensor of them."""


class Noising(nn.Module):
    """q(z_t | x) = N(alpha_t x, sigma_t^2 I) at levels t = 1, ..., T, each a noisier copy of the one before it.

    z_t is alpha_t / alpha_s of z_s, for s < t, and noise of variance sigma_t^2 c, where c = 1 - SNR_t / SNR_s is the
    share of the noise that is new. Backwards, by Bayes' rule,

    q(z_s | z_t, x) = N(alpha_s ((1 - c) z_t / alpha_t + c x), sigma_s^2 c I).

    Args:
        depth: number of levels T.
        schedule: their log-SNR.
        dims: dimensions of an event.

    Its tables, (T,): `log_snr`, `alphas`, `sigmas`, and `times`, which run from 0 to 1 evenly in log-SNR.

    Example:
        >>> from pyrogen.distributions import CosineSchedule
        >>> noising = Noising(10, CosineSchedule(), dims=1)
        >>> noising.noised(torch.zeros(5, 2), torch.tensor([1, 2, 5, 9, 10])).rsample().shape
        torch.Size([5, 2])

    References:
        Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli 2015, arXiv:1503.03585; Kingma, Salimans, Poole, Ho 2021,
        arXiv:2107.00630 (appendix A).
    """

    def __init__(self, depth: int, schedule: NoiseSchedule, dims: int) -> None:
        super().__init__()
        self.dims, log_snr = dims, schedule.log_snr(depth)
        tables = {
            "log_snr": log_snr,
            "times": (schedule.high - log_snr) / (schedule.high - schedule.low),
            "alphas": log_snr.sigmoid().sqrt(),
            "sigmas": (-log_snr).sigmoid().sqrt(),
        }
        self.log_snr: Tensor
        self.times: Tensor
        self.alphas: Tensor
        self.sigmas: Tensor
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def alpha(self, t: Level) -> Tensor:
        """What is left of the datum at levels `t` (...), as (..., 1, ..., 1) with as many ones as an event has."""
        return self._before_events(self.alphas[t - 1])

    def sigma(self, t: Level) -> Tensor:
        """The standard deviation of the noise at levels `t`, shaped as `alpha`."""
        return self._before_events(self.sigmas[t - 1])

    def time(self, t: Level) -> Tensor:
        """How noisy levels `t` (...) are, from 0 to 1 evenly in log-SNR: what a network is told of the level, (...)."""
        return self.times[t - 1]

    def gain(self, t: Level) -> Tensor:
        """SNR_{t-1} / SNR_t - 1, (...), of levels `t` (...)."""
        return torch.expm1(self.log_snr[t - 2] - self.log_snr[t - 1])

    def snr(self, t: Level) -> Tensor:
        """The signal-to-noise ratio alpha^2 / sigma^2 of levels `t` (...), (...)."""
        return self.log_snr[t - 1].exp()

    def noised(self, x: Tensor, t: Level) -> dist.TorchDistribution:
        """q(z_t | x) for `x` (..., *event_shape)."""
        return dist.Normal(self.alpha(t) * x, self.sigma(t)).to_event(self.dims)

    def back(self, z: Tensor, t: Level, s: Level, x: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z_s given z_t and x, s below t.

        `eta` = 1 gives those of q(z_s | z_t, x). With less, a share of the noise that z_t shows stays in place of new
        noise, so that q(z_s | x) is as it was; with 0 nothing is drawn (DDIM; Song, Meng, Ermon 2020,
        arXiv:2010.02502).
        """
        fresh = eta**2 * -self._before_events(torch.expm1(self.log_snr[t - 1] - self.log_snr[s - 1]))
        noise = (z - self.alpha(t) * x) / self.sigma(t)
        mean = self.alpha(s) * x + self.sigma(s) * (1 - fresh).sqrt() * noise
        return mean, self.sigma(s) * fresh.sqrt()

    def below(self, z: Tensor, t: Level, x: Tensor) -> dist.TorchDistribution:
        """q(z_{t-1} | z_t, x)."""
        return dist.Normal(*self.back(z, t, t - 1, x)).to_event(self.dims)

    def _before_events(self, of_levels: Tensor) -> Tensor:
        return of_levels.reshape((*of_levels.shape, *[1] * self.dims))


def is_between(value: Any, least: float, most: float, kind: Any = int | float) -> bool:
    """Whether it is a number, of this kind, from `least` to `most`: what a user passed may be anything."""
    return isinstance(value, kind) and least <= value <= most
