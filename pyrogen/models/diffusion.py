"""Diffusion: a hierarchical variational autoencoder whose guide only adds noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pyrogen.models.checks import check_timesteps, is_number_between
from pyrogen.models.event_story import EventStory
from pyrogen.models.forward_process import Noising, Timestep
from pyrogen.nn import DenseDenoiser, Shape, as_shape


class Diffusion(EventStory):
    """z_T ~ N(0, I),  z_{t-1} | z_t ~ q(z_{t-1} | z_t, x(z_t)),  x | z_1 ~ Bayes' rule.

    The guide has no parameters: it adds noise, q(z_t | x) = N(alpha_t x, sigma_t^2 I), x standardized to mean 0 and
    standard deviation 1, and the noise of z_t contains that of z_{t-1} (see `Noising`). The model replaces the datum by
    x(z_t), a network's prediction from z_t. In nats per datum,

    log p(x) >= E_q [log p(x | z_1)] - KL(q(z_T | x) || p(z_T)) - sum_{t=2}^T KL_t,
    KL_t = KL(q(z_{t-1} | z_t, x) || p(z_{t-1} | z_t)) = (SNR_{t-1} - SNR_t) |x - x(z_t)|^2 / 2.

    With `timesteps_per_datum=None` the program is this chain, with the sites z_1 to z_T, and has importance weights as
    any hierarchical VAE has. With `timesteps_per_datum=k` a step evaluates k timesteps of every datum, drawn uniformly:
    the sum over t is a plate "timesteps" of T - 1 members of which k are drawn, with KL_t in closed form. The ELBO's
    mean is the chain's, at the cost of k passes through the network, and `evaluate` reports it; but such a program has
    no importance weights (`NoWeights`).

    p(x | z_1) has no parameters either: it is Bayes' rule with a flat prior, without loss where sigma_1 is below the
    finest structure of the data.

    Args:
        event_shape: shape of one datum, such as (1, 28, 28).
        num_timesteps: number of timesteps T; 1000 by default.
        likelihood: which values x may have: `Bernoulli()` for zeros and ones, `DiscretizedCategorical(levels)` for grey
            levels; any numbers by default.
        prediction: what the network predicts; `PredictV()` by default.
        schedule: the noise at each timestep; a cosine schedule by default, whose first sigma is small enough to
            distinguish the likelihood's values.
        network: (batch, *event_shape), time (batch,) in [0, 1], label None -> (batch, *event_shape); a dense network by
            default.
        timesteps_per_datum: number of timesteps of each datum in a training step, 1 by default; None for the full
            chain.
        simple_loss: whether training weights the squared error of the noise equally at all timesteps, which gives
            samples of better quality than the bound; False by default. `train_elbo` is then minus that loss.
            Validation and the choice of weights still use the bound: pass no validation data to keep the last, or the
            averaged weights.
        hidden: widths of the dense network's hidden layers; (256, 256, 256) by default.

    Raises:
        ValueError: there are fewer than 3 timesteps, `timesteps_per_datum` is not below T - 1, `simple_loss` is set for
            the full chain, or the likelihood is not one of the above.

    Example:
        >>> story = Diffusion(2, num_timesteps=20, hidden=(16,))
        >>> story.sample(3).shape, story.draw(3, steps=5, eta=0).shape
        (torch.Size([3, 2]), torch.Size([3, 2]))

    References:
        Ho, Jain, Abbeel 2020, arXiv:2006.11239; Kingma, Salimans, Poole, Ho 2021, arXiv:2107.00630.
    """

    def __init__(
        self,
        event_shape: Shape,
        num_timesteps: int = 1000,
        *,
        likelihood: Family | None = None,
        prediction: Prediction = PredictV(),  # noqa: B008 (frozen)
        schedule: NoiseSchedule | None = None,
        network: nn.Module | None = None,
        timesteps_per_datum: int | None = 1,
        simple_loss: bool = False,
        hidden: Sequence[int] = (256, 256, 256),
    ) -> None:
        super().__init__()
        check_timesteps(num_timesteps, timesteps_per_datum, simple_loss)
        check_reconstruction_likelihood(self.name, likelihood)
        self.event_shape, self.num_timesteps = as_shape(event_shape), num_timesteps
        self.timesteps_per_datum, self.simple_loss = timesteps_per_datum, simple_loss
        self.likelihood, self.prediction = likelihood, prediction
        schedule = CosineSchedule(high=reconstruction_log_snr(likelihood)) if schedule is None else schedule
        self.noising = Noising(num_timesteps, schedule, len(self.event_shape))
        self.prior = StandardNormal(self.event_shape)
        self.network = DenseDenoiser(self.event_shape, hidden) if network is None else network
        sizes = [*self.event_shape[:1], *[1] * (len(self.event_shape) - 1)]
        self.shift = nn.Buffer(torch.zeros(sizes))
        self.scale = nn.Buffer(torch.ones(sizes))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z_T) ... p(z_1 | z_2) p(x | z_1).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        return self._model(x, None, n)

    def guide(self, x: Tensor, n: int) -> None:
        """q(z_T | x) q(z_{T-1} | z_T, x) ... q(z_1 | z_2, x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            if self.timesteps_per_datum is None:
                self._chain(self._marginal(x, self.num_timesteps), lambda z, t: self._standardized(x))
            else:
                self._noisy(x, n)

    def denoise(self, z: Tensor, t: Timestep, label: Tensor | None = None) -> Tensor:
        """The network's prediction x(z_t) of the datum, in standardized units.

        Args:
            z: z_t, (..., *event_shape), in standardized units.
            t: timesteps, (...).
            label: the network's label input of each datum, (..., classes); none by default.

        Returns:
            (..., *event_shape).
        """
        time = self.noising.time(t).expand(z.shape[: z.dim() - len(self.event_shape)])
        outputs = self.network(z, time, label).to(z.dtype)
        return self.prediction.x(outputs, z, self.noising.alpha(t), self.noising.sigma(t))

    def reconstruction(self, z: Tensor) -> dist.TorchDistribution:
        """p(x | z_1).

        Args:
            z: z_1, (..., *event_shape), in standardized units.

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        alpha, sigma = self.noising.alpha(1), self.noising.sigma(1)
        loc, scale = self.shift + self.scale * z / alpha, self.scale * sigma / alpha
        return reconstruction_distribution(self.likelihood, loc, scale, self.event_shape)

    def divergence(self, x: Tensor, z: Tensor, t: Timestep, label: Tensor | None = None) -> Tensor:
        """KL_t.

        Args:
            x: data, (..., *event_shape).
            z: z_t, (..., *event_shape), in standardized units.
            t: timesteps, (...), from 2 to T.
            label: the network's label input of each datum, (..., classes); none by default.

        Returns:
            (...) in nats.
        """
        error = (self._standardized(x) - self.denoise(z, t, label)).square()
        error = error.flatten(error.dim() - len(self.event_shape)).sum(-1) if self.event_shape else error
        return 0.5 * self.noising.snr(t) * self.noising.relative_snr_gain(t) * error

    def draw(self, n: int, steps: int | None = None, eta: float = 1.0) -> Tensor:
        """Draw new data with fewer timesteps, or with less noise, than `sample` does.

        Args:
            n: number of data to draw.
            steps: number of passes through the network, at timesteps spread evenly from T to 1; T - 1 by default, every
                timestep.
            eta: share of the noise that is drawn anew: 1, the default, is ancestral sampling, from the model itself
                where no timestep is left out; 0 is DDIM, in which z_T determines z_1, better with few steps.

        Returns:
            (n, *event_shape).

        References:
            Song, Meng, Ermon 2020, arXiv:2010.02502.
        """
        with self.predicting():
            *_, (_, z) = self.reverse_trajectory(self.prior().sample((n,)), steps, eta)
            return self.reconstruction(z).sample()

    def reverse_trajectory(
        self, z: Tensor, steps: int | None = None, eta: float = 1.0, label: Tensor | None = None, guidance: float = 0.0
    ) -> Iterator[tuple[int, Tensor]]:
        """Draws of z_t from z_T down to z_1, in standardized units, without gradients.

        Args:
            z: z_T, (..., *event_shape).
            steps: number of passes through the network, as `draw`'s.
            eta: share of the noise that is drawn anew, as `draw`'s.
            label: the network's label input of each datum, (..., classes); none by default.
            guidance: weight w of `ConditionalDiffusion.draw`; 0 by default.

        Returns:
            An iterator over each timestep t that is visited and z_t, (..., *event_shape).

        Raises:
            ValueError: `eta` is not a number from 0 to 1.
        """
        if not is_number_between(eta, 0, 1):
            raise ValueError(f"eta is a share of the noise, from 0 (DDIM) to 1 (ancestral), got eta={eta!r}")

        def denoise(z: Tensor, t: int) -> Tensor:
            x = self.denoise(z, t, label)
            return x + guidance * (x - self.denoise(z, t)) if guidance else x

        return self.noising.reverse_trajectory(z, self.noising.spaced_timesteps(steps), denoise, eta)

    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Set shift and scale to mean and standard deviation of each channel, or of each feature of a vector.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        x = data["x"].transpose(0, 1).flatten(1) if self.event_shape else data["x"][None]
        deviation = x.std(1, correction=0)
        self.shift.copy_(x.mean(1).reshape(self.shift.shape))
        self.scale.copy_(torch.where(deviation > 0, deviation, 1.0).reshape(self.scale.shape))

    def _model(self, x: Tensor | None, label: Tensor | None, n: int) -> Tensor:
        """The model, given the network's label inputs."""
        with pyro.plate("data", n, dim=-1):
            if self.timesteps_per_datum is None:
                z = self._chain(self.prior(), lambda z, t: self.denoise(z, t, label))
            elif x is None:
                *_, (_, z) = self.reverse_trajectory(self.prior().sample((n,)), label=label)
            else:
                z = self._score_timesteps(x, label, n)
            return pyro.sample("x", self.reconstruction(z), obs=x)

    def _chain(self, last: dist.TorchDistribution, predict: Callable[[Tensor, int], Tensor]) -> Tensor:
        """z_T from `last`, z_{t-1} from q(z_{t-1} | z_t, x) with x = predict(z_t, t); returns z_1."""
        z = pyro.sample(f"z{self.num_timesteps}", last)
        for t in range(self.num_timesteps, 1, -1):
            z = pyro.sample(f"z{t - 1}", self.noising.reverse_conditional(z, t, predict(z, t)))
        return z

    def _score_timesteps(self, x: Tensor, label: Tensor | None, n: int) -> Tensor:
        """Score the divergences of the timesteps that are drawn, scaled to all; returns z_1."""
        z1, z, t, timesteps = self._noisy(x, n)
        with timesteps:
            divergence = self.divergence(x, z, t, label)
            if self.simple_loss and self.training:
                divergence = divergence / (self.noising.relative_snr_gain(t) * (self.num_timesteps - 1))
            pyro.factor("divergences", -divergence)
        pyro.factor("divergence_at_the_top", -kl_divergence(self._marginal(x, self.num_timesteps), self.prior()))
        return z1

    def _noisy(self, x: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor, Any]:
        """z_1, and z_t at the drawn timesteps t, with their plate; neither program scores this noise."""
        plate: Any = pyro.plate("timesteps", self.num_timesteps - 1, subsample_size=self.timesteps_per_datum)
        with poutine.mask(mask=False):
            z1 = pyro.sample("z1", self._marginal(x, 1))
            with plate as members:
                first = members.to(x.device).reshape(-1, *[1] * (-plate.dim - 1))
                # Each datum has an offset of its own, so that the timesteps of a batch are spread evenly.
                offset = torch.arange(n, device=x.device) * (self.num_timesteps - 1) // n
                t = 2 + (first + offset) % (self.num_timesteps - 1)
                z = pyro.sample("z", self._marginal(x, t))
        return z1, z, t, plate

    def _marginal(self, x: Tensor, t: Timestep) -> dist.TorchDistribution:
        return self.noising.marginal(self._standardized(x), t)

    def _standardized(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale
