"""Diffusion: a hierarchical variational autoencoder whose guide only adds noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyrogen.distributions import (
    CosineSchedule,
    Family,
    NoiseSchedule,
    Prediction,
    PredictV,
    StandardNormal,
    check_reconstruction_likelihood,
    reconstruction_distribution,
    reconstruction_log_snr,
)
from pyrogen.models.forward_process import Level, Noising, is_between
from pyrogen.nn import DenseDenoiser, Shape, as_shape
from pyrogen.story import Story, check_event

__all__ = ["Diffusion"]


class Diffusion(Story):
    """z_T ~ N(0, I),  z_{t-1} | z_t ~ q(z_{t-1} | z_t, x(z_t)),  x | z_1 read off z_1.

    The guide has no parameters: it adds noise, q(z_t | x) = N(alpha_t x, sigma_t^2 I), x scaled to mean 0 and standard
    deviation 1, and the noise of z_t contains that of z_{t-1} (see `Noising`). The model puts x(z_t), what a network
    makes of z_t, where the guide has the datum. In nats per datum,

    log p(x) >= E_q [log p(x | z_1)] - KL(q(z_T | x) || p(z_T)) - sum_{t=2}^T KL_t,
    KL_t = KL(q(z_{t-1} | z_t, x) || p(z_{t-1} | z_t)) = (SNR_{t-1} - SNR_t) |x - x(z_t)|^2 / 2.

    With `drawn=None` the program is this chain, z_1 to z_T its sites, and has weights as any hierarchical VAE has. With
    `drawn=k` a step looks at k levels of every datum, drawn evenly: the sum over t is a plate "levels" of T - 1
    members of which k are drawn, KL_t in closed form. The ELBO's mean is the chain's, at the cost of k passes through
    the network, and `evaluate` reports it; but a run has no weight of its own (`NoWeights`).

    p(x | z_1) has no parameters either: Bayes' rule from a flat prior, which loses nothing where sigma_1 is below the
    finest structure of the data.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        depth: number of levels T.
        likelihood: what x may be: `Bernoulli()` zeros and ones, `Categorical(levels)` grey levels; None: any numbers.
        prediction: what the network predicts.
        schedule: how noisy the levels are; None: cosine, from noise by which no level of the likelihood is mistaken.
        network: (batch, *event_shape), time (batch,) between 0 and 1, label None -> (batch, *event_shape); None: dense.
        drawn: levels of each datum that a step looks at; None: all of them, as the full chain.
        simple: whether training, and training alone, weighs the error in the noise alike at every level, for samples
            that look better than those of the best bound; then `train_elbo` is minus that loss. Validation is by the
            bound all the same, and so is the choice of weights: pass none to keep the last, or the averaged ones.
        hidden: widths of the dense network.

    Raises:
        ValueError: fewer than 3 levels, `drawn` is not below T - 1, `simple` with the full chain, or another
            likelihood; by `check`, x has another event shape, or no density.

    Example:
        >>> story = Diffusion(2, depth=20, hidden=(16,))
        >>> story.sample(3).shape, story.draw(3, steps=5, eta=0).shape
        (torch.Size([3, 2]), torch.Size([3, 2]))

    References:
        Ho, Jain, Abbeel 2020, arXiv:2006.11239; Kingma, Salimans, Poole, Ho 2021, arXiv:2107.00630.
    """

    def __init__(
        self,
        event_shape: Shape,
        depth: int = 1000,
        *,
        likelihood: Family | None = None,
        prediction: Prediction = PredictV(),  # noqa: B008 (frozen)
        schedule: NoiseSchedule | None = None,
        network: nn.Module | None = None,
        drawn: int | None = 1,
        simple: bool = False,
        hidden: Sequence[int] = (256, 256, 256),
    ) -> None:
        super().__init__()
        _check_levels(depth, drawn, simple)
        check_reconstruction_likelihood(self.name, likelihood)
        self.event_shape, self.depth, self.drawn, self.simple = as_shape(event_shape), depth, drawn, simple
        self.likelihood, self.prediction = likelihood, prediction
        schedule = CosineSchedule(high=reconstruction_log_snr(likelihood)) if schedule is None else schedule
        self.noising = Noising(depth, schedule, len(self.event_shape))
        self.prior = StandardNormal(self.event_shape)
        self.network = DenseDenoiser(self.event_shape, hidden) if network is None else network
        sizes = [*self.event_shape[:1], *[1] * (len(self.event_shape) - 1)]
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(sizes))
        self.register_buffer("scale", torch.ones(sizes))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z_T) ... p(z_1 | z_2) p(x | z_1)."""
        return self._told(x, None, n)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z_T | x) q(z_{T-1} | z_T, x) ... q(z_1 | z_2, x)."""
        self._add_noise(x, n)

    def denoise(self, z: Tensor, t: Level, label: Tensor | None = None) -> Tensor:
        """x(z_t), the datum that the network sees in `z` (..., *event_shape) at levels `t`; both in scaled units."""
        time = self.noising.time(t).expand(z.shape[: z.dim() - len(self.event_shape)])
        outputs = self.network(z, time, label).to(z.dtype)
        return self.prediction.x(outputs, z, self.noising.alpha(t), self.noising.sigma(t))

    def read(self, z: Tensor) -> dist.TorchDistribution:
        """p(x | z_1) for `z` (..., *event_shape)."""
        alpha, sigma = self.noising.alpha(1), self.noising.sigma(1)
        seen, scale = self.shift + self.scale * z / alpha, self.scale * sigma / alpha
        return reconstruction_distribution(self.likelihood, seen, scale, self.event_shape)

    def divergence(self, x: Tensor, z: Tensor, t: Level, label: Tensor | None = None) -> Tensor:
        """KL_t of data `x`, nats, given z_t = `z` (..., *event_shape) at levels `t`, 2 to T."""
        error = (self._scaled(x) - self.denoise(z, t, label)).square()
        error = error.flatten(error.dim() - len(self.event_shape)).sum(-1) if self.event_shape else error
        return 0.5 * self.noising.snr(t) * self.noising.gain(t) * error

    def draw(self, n: int, steps: int | None = None, eta: float = 1.0) -> Tensor:
        """Draw `n` new data by way of fewer levels, or with less noise, than `sample` does.

        Args:
            n: how many.
            steps: passes through the network, over levels spread evenly from T to 1; None: T - 1, every level.
            eta: share of the noise that is drawn anew: 1 ancestral sampling, the model's own if no level is left out; 0
                DDIM, after z_T all but a function, and better with few steps.

        Returns:
            (n, *event_shape).

        Raises:
            ValueError: `steps` is no whole number from 1 to T - 1, or `eta` none from 0 to 1.

        References:
            Song, Meng, Ermon 2020, arXiv:2010.02502.
        """
        with self.predicting():
            *_, (_, z) = self.descend(self.prior().sample((n,)), steps, eta)
            return self.read(z).sample()

    @torch.no_grad()
    def descend(
        self, z: Tensor, steps: int | None = None, eta: float = 1.0, label: Tensor | None = None, guidance: float = 0.0
    ) -> Iterator[tuple[int, Tensor]]:
        """Level by level from z_T = `z` (..., *event_shape) to z_1: each (t, z_t) that is visited, in scaled units.

        Args:
            z: where to start.
            steps: as `draw`'s.
            eta: as `draw`'s.
            label: what the network is told of each datum, if it is told anything.
            guidance: as that of `ConditionalDiffusion.draw`.
        """
        visited = self._visited(steps)
        if not is_between(eta, 0, 1):
            raise ValueError(f"eta is a share of the noise, from 0 (DDIM) to 1 (ancestral), got eta={eta!r}")
        yield self.depth, z
        for t, s in itertools.pairwise(visited):
            x = self.denoise(z, t, label)
            if guidance:
                x = x + guidance * (x - self.denoise(z, t))
            mean, sd = self.noising.back(z, t, s, x, eta)
            z = mean + sd * torch.randn_like(mean) if eta else mean
            yield s, z

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Take mean and standard deviation from the training data: of each channel, or of each feature of a vector."""
        x = data["x"].transpose(0, 1).flatten(1) if self.event_shape else data["x"][None]
        deviation = x.std(1, correction=0)
        self.shift.copy_(x.mean(1).reshape(self.shift.shape))
        self.scale.copy_(torch.where(deviation > 0, deviation, 1.0).reshape(self.scale.shape))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape, or without a density."""
        check_event(self.name, "event_shape", data, self.event_shape)
        if self.likelihood is not None:
            self.likelihood.check(data["x"])

    def _told(self, x: Tensor | None, label: Tensor | None, n: int) -> Tensor:
        """The model, given labels."""
        with pyro.plate("data", n, dim=-1):
            if self.drawn is None:
                z = self._chain(lambda z, t: self.noising.below(z, t, self.denoise(z, t, label)), self.prior())
            elif x is None:
                *_, (_, z) = self.descend(self.prior().sample((n,)), label=label)
            else:
                z = self._one_level(x, label, n)
            return pyro.sample("x", self.read(z), obs=x)

    def _add_noise(self, x: Tensor, n: int) -> None:
        """The guide."""
        with pyro.plate("data", n, dim=-1):
            if self.drawn is None:
                self._chain(lambda z, t: self.noising.below(z, t, self._scaled(x)), self._noised(x, self.depth))
            else:
                self._noisy(x, n)

    def _chain(self, below: Any, top: dist.TorchDistribution) -> Tensor:
        """z_T from `top`, z_{t-1} from below(z_t, t); gives z_1."""
        z = pyro.sample(f"z{self.depth}", top)
        for t in range(self.depth, 1, -1):
            z = pyro.sample(f"z{t - 1}", below(z, t))
        return z

    def _one_level(self, x: Tensor, label: Tensor | None, n: int) -> Tensor:
        """Score the divergences of the levels that are drawn, for all; gives z_1."""
        z1, z, t, levels = self._noisy(x, n)
        with levels:
            lost = self.divergence(x, z, t, label)
            if self.simple and self.training:
                lost = lost / (self.noising.gain(t) * (self.depth - 1))
            pyro.factor("divergences", -lost)
        pyro.factor("divergence_at_the_top", -kl_divergence(self._noised(x, self.depth), self.prior()))
        return z1

    def _noisy(self, x: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor, Any]:
        """z_1, and z_t at the levels t that are drawn, with their plate: noise, which neither program is scored on."""
        levels: Any = pyro.plate("levels", self.depth - 1, subsample_size=self.drawn)
        with poutine.mask(mask=False):
            z1 = pyro.sample("z1", self._noised(x, 1))
            with levels as members:
                first = members.to(x.device).reshape(-1, *[1] * (-levels.dim - 1))
                # Each datum counts the levels from another one on, so that those of a batch are spread evenly.
                spread = torch.arange(n, device=x.device) * (self.depth - 1) // n
                t = 2 + (first + spread) % (self.depth - 1)
                z = pyro.sample("z", self._noised(x, t))
        return z1, z, t, levels

    def _noised(self, x: Tensor, t: Level) -> dist.TorchDistribution:
        return self.noising.noised(self._scaled(x), t)

    def _scaled(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale

    def _visited(self, steps: int | None) -> list[int]:
        """The levels that so many steps visit, from T down to 1."""
        most = self.depth - 1
        if steps is not None and not is_between(steps, 1, most, int):
            raise ValueError(f"{self.name} of {self.depth} levels takes steps from 1 to {most}, got steps={steps!r}")
        return torch.linspace(self.depth, 1, (steps or most) + 1, dtype=torch.float64).round().long().tolist()


def _check_levels(depth: int, drawn: int | None, simple: bool) -> None:
    if not is_between(depth, 3, math.inf, int):
        raise ValueError(f"a diffusion has a whole number of levels, at least 3, got depth={depth!r}")
    if drawn is not None and not is_between(drawn, 1, depth - 2, int):
        raise ValueError(
            f"drawn is a number of levels from 1 to {depth - 2}, or None, the full chain of all {depth}; got {drawn}"
        )
    if simple and drawn is None:
        raise ValueError("simple=True weighs levels that are drawn: set drawn=1, or train the full chain by its bound")
