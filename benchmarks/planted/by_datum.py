"""Guides whose fault differs from datum to datum: pooled over data it cancels, or is rare."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrogen import Story

Normal = dist.Normal


class Means(Story):
    """z ~ N(0, 1) in each of K dimensions, x given z ~ N(z, 1): the posterior is N(x / 2, 1 / 2).

    By a sign that depends on the datum the guide's means are `shift` standard deviations too high or too low, and its
    standard deviations `width` times the posterior's, or one over that.
    """

    def __init__(self, seed: int, shift: float = 0.0, width: float = 1.0, size: int = 2) -> None:
        super().__init__()
        self.shift, self.width, self.size = shift, width, size
        self.register_buffer("direction", torch.randn(size, generator=torch.Generator().manual_seed(seed)))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """Draw or observe x (n, K)."""
        with pyro.plate("data", n):
            z = pyro.sample("z", Normal(torch.zeros(self.size), 1.0).to_event(1))
            return torch.as_tensor(pyro.sample("x", Normal(z, 1.0).to_event(1), obs=x))

    def guide(self, x: Tensor, n: int) -> None:
        """The posterior, off by datum."""
        sign, sd = torch.sign(torch.sin(3 * (x @ self.direction)))[:, None], 0.5**0.5
        with pyro.plate("data", n):
            pyro.sample("z", Normal(x / 2 + self.shift * sd * sign, sd * self.width**sign).to_event(1))


class Sums(Story):
    """x given z ~ N(z_1 + c z_2, .5) for a column c of -1 or 1: the sign of the posterior's correlation is -c.

    The guide has the posterior's means and standard deviations, and no correlation.
    """

    def model(self, x: Tensor | None, c: Tensor, n: int) -> Tensor:
        """Draw or observe x (n,)."""
        with pyro.plate("data", n):
            z = pyro.sample("z", Normal(torch.zeros(2), 1.0).to_event(1))
            return torch.as_tensor(pyro.sample("x", Normal(z[..., 0] + c * z[..., 1], 0.5), obs=x))

    def guide(self, x: Tensor, c: Tensor, n: int) -> None:
        """The best mean-field guide but for its standard deviations, which are the posterior's."""
        gain = 1 / (2 + 0.25)
        mean, sd = gain * x[:, None] * torch.stack([torch.ones_like(c), c], -1), (1 - gain) ** 0.5
        with pyro.plate("data", n):
            pyro.sample("z", Normal(mean, sd).to_event(1))


class Squares(Story):
    """x given z ~ N(z, .3), or where a column c is 1 ~ N(|z|, .3), whose posterior has two modes; the guide has one."""

    def model(self, x: Tensor | None, c: Tensor, n: int) -> Tensor:
        """Draw or observe x (n,)."""
        with pyro.plate("data", n):
            z = pyro.sample("z", Normal(torch.zeros(n), 1.0))
            return torch.as_tensor(pyro.sample("x", Normal(torch.where(c > 0, z.abs(), z), 0.3), obs=x))

    def guide(self, x: Tensor, c: Tensor, n: int) -> None:
        """The posterior where c is 0, and near its upper mode where c is 1."""
        gain = 1 / (1 + 0.3**2)
        with pyro.plate("data", n):
            pyro.sample("z", Normal(gain * x, (1 - gain) ** 0.5))
