"""One Gaussian: the density against which others are measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrogen.distributions import Covariance, Full, reshape_events
from pyrogen.models.event_story import EventStory
from pyrogen.nn import Shape, as_shape, flatten


class MultivariateGaussian(EventStory):
    """x ~ N(mu, C) over the D features of a datum, at maximum likelihood.

    mu is the data's mean and C their covariance over N (its diagonal, or the diagonal's mean), plus floor^2 I, so that
    features without variance have a density too. There is no latent and no training step: `prepare` is the whole fit.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        covariance: form of C; `Full()` by default.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [1.0, 5.0]])
        >>> story = MultivariateGaussian(2)
        >>> story.prepare({"x": x})
        >>> story.mean.tolist(), story.log_prob(x).shape
        ([1.0, 3.0], torch.Size([3]))
    """

    unsupported = {"steps": "its maximum likelihood is known in closed form", "guide": "it has no latents"}

    def __init__(self, event_shape: Shape, covariance: Covariance = Full()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.event_shape, self.covariance = as_shape(event_shape), covariance
        features = math.prod(self.event_shape)
        self.mean = nn.Parameter(torch.zeros(features))
        self.raw_scale = nn.Parameter(torch.zeros(covariance.size(features)))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(x).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            return pyro.sample("x", self.density(), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: there are no latents.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """

    def density(self) -> TorchDistribution:
        """p(x).

        Returns:
            Batch shape (), event shape `event_shape`.
        """
        return reshape_events(self.covariance(self.mean, self.raw_scale), self.event_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        return self.density().log_prob(x)

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Set mean and covariance to their maximum-likelihood values.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        x = flatten(data["x"], self.event_shape, self.name)
        self.raw_scale.copy_(self.covariance.estimate(x))
        self.mean.copy_(x.double().mean(0))
