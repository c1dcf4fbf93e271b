"""Factor analysis: probabilistic PCA with a noise of its own for each feature."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import StandardNormal
from pyrogen.models.checks import check_latent
from pyrogen.models.event_story import EncoderDecoderStory
from pyrogen.models.principal_axes import principal_axes
from pyrogen.nn import Shape, as_shape, flatten


class FactorAnalysis(EncoderDecoderStory):
    """z ~ N(0, I_K),  x | z ~ N(W z + mu, S),  S = diag(s_1^2, ..., s_D^2),  guided by the exact posterior.

    With M = W' S^-1 W + I, p(z | x) = N(M^-1 W' S^-1 (x - mu), M^-1). The guide is this distribution, computed from
    the model's own parameters: log p(x, z) - log q(z | x) is log p(x) for every draw of z, and SVI maximizes the exact
    likelihood without noise. No s_d falls below `floor`, so that the likelihood is bounded.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        latent: number of factors K, at most D.
        floor: smallest standard deviation of the noise, in the units of the data; 1e-4 by default.

    Raises:
        ValueError: there are more factors than features, or `floor` is not positive.

    Example:
        >>> x = torch.randn(50, 4)
        >>> story = FactorAnalysis(4, latent=1)
        >>> story.prepare({"x": x})
        >>> story.log_prob(x).shape, story.encode(x).event_shape
        (torch.Size([50]), torch.Size([1]))

    References:
        Spearman 1904, American Journal of Psychology 15(2); Rubin, Thayer 1982, Psychometrika 47(1).
    """

    def __init__(self, event_shape: Shape, latent: int, floor: float = 1e-4) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"FactorAnalysis needs a positive floor, got floor={floor!r}")
        self.event_shape, (self.latent,), self.floor = as_shape(event_shape), as_shape(latent), floor
        features = math.prod(self.event_shape)
        check_latent(self.name, self.latent, features)
        self.prior = StandardNormal(self.latent)
        self.weight = nn.Parameter(torch.randn(features, self.latent) / math.sqrt(self.latent))
        self.mean = nn.Parameter(torch.zeros(features))
        self.raw_scale = nn.Parameter(torch.zeros(features))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(z) p(x | z).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """p(z | x).

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """
        with pyro.plate("data", n, dim=-1):
            pyro.sample("z", self.encode(x))

    def scale(self) -> Tensor:
        """The standard deviations s = (floor^2 + exp(2 raw))^1/2 of the noise.

        Returns:
            (D,) in the units of the data.
        """
        return (self.floor**2 + (2 * self.raw_scale).exp()).sqrt()

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x | z).

        Args:
            z: latents, (..., K).

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        mean = (z @ self.weight.T + self.mean).reshape((*z.shape[:-1], *self.event_shape))
        return dist.Normal(mean, self.scale().reshape(self.event_shape)).to_event(len(self.event_shape))

    def encode(self, x: Tensor) -> dist.MultivariateNormal:
        """p(z | x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (K,).
        """
        scaled = self.weight / self.scale()[:, None]
        moment = scaled.T @ scaled + torch.eye(self.latent).to(scaled)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
        mean = (flatten(x, self.event_shape, self.name) - self.mean) / self.scale() @ scaled @ inverse
        return dist.MultivariateNormal(mean, scale_tril=torch.linalg.cholesky(inverse))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        # Bayes' rule at the posterior's mean; no difference of large numbers, even for small noise.
        posterior = self.encode(x)
        z = posterior.mean
        return self.prior().log_prob(z) + self.decode(z).log_prob(x) - posterior.log_prob(z)

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Start at the best probabilistic PCA, with what it leaves of each feature's variance in the noise.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        x = flatten(data["x"], self.event_shape, self.name)
        mean, values, axes = principal_axes(x, self.latent)
        weight = axes * (values[: self.latent] - values[self.latent :].mean().nan_to_num()).sqrt()
        left = x.double().var(0, correction=0) - weight.square().sum(1)
        self.mean.copy_(mean)
        self.weight.copy_(weight)
        self.raw_scale.copy_(left.clamp(min=self.floor**2).log() / 2)
