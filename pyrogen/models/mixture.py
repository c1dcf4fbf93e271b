"""The Gaussian mixture, its discrete latent summed out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import Covariance, Full, reshape_events
from pyrogen.models.kmeans import k_means
from pyrogen.nn import Shape, as_shape, flatten
from pyrogen.story import Story, check_event

__all__ = ["GaussianMixture"]


class GaussianMixture(Story):
    """k ~ Categorical(pi),  x | k ~ N(mu_k, C_k):  p(x) = sum_k pi_k N(x; mu_k, C_k).

    The latent k is marked for enumeration, and `TraceEnum_ELBO` sums it out: the ELBO is log p(x), with nothing to
    guide. Training starts from k-means. As the C_k shrink together, p(k | x) becomes k-means' assignment.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        components: number of components K.
        covariance: what is free in each C_k; its floor keeps the likelihood bounded.

    Raises:
        ValueError: by `prepare`, fewer data than components; by `check`, x of another event shape.

    Example:
        >>> story = GaussianMixture(1, components=2)
        >>> story.prepare({"x": torch.tensor([[0.0], [1.0], [10.0], [11.0]])})
        >>> story.responsibilities(torch.tensor([[0.0], [10.0]])).amax(1).tolist()
        [1.0, 1.0]

    References:
        Dempster, Laird, Rubin 1977, JRSS B 39(1); Bishop 2006, "Pattern recognition and machine learning", chapter 9.
    """

    unsupported = {"guide": "its one latent, which component x came from, is summed out"}

    def __init__(self, event_shape: Shape, components: int, covariance: Covariance = Full()) -> None:  # noqa: B008
        super().__init__()
        self.event_shape, (self.components,), self.covariance = as_shape(event_shape), as_shape(components), covariance
        features = math.prod(self.event_shape)
        self.logits = nn.Parameter(torch.zeros(self.components))
        self.means = nn.Parameter(torch.randn(self.components, features))
        self.raw_scales = nn.Parameter(torch.zeros(self.components, *covariance.size(features)))

    def model(self, x: Tensor | None, n: int) -> Tensor:
        """p(k) p(x | k)."""
        with pyro.plate("data", n, dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            return pyro.sample("x", self.component(k), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: k is summed out."""

    def component(self, k: Tensor | int) -> dist.TorchDistribution:
        """p(x | k), batch shape that of `k`."""
        return reshape_events(self.covariance(self.means[k], self.raw_scales[k]), self.event_shape)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, k) for each k, (..., K) in nats, for `x` (..., *event_shape)."""
        each = [self.component(k).log_prob(x) for k in range(self.components)]
        return torch.stack(each, -1) + self.logits.log_softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly, (...) in nats, for `x` (..., *event_shape)."""
        return self.log_joint(x).logsumexp(-1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x), exactly, (..., K), for `x` (..., *event_shape)."""
        return self.log_joint(x).softmax(-1)

    def encode(self, x: Tensor) -> Tensor:
        """The code z of `x` (..., *event_shape): its responsibilities, (..., K)."""
        return self.responsibilities(x)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of x where k has the probabilities z, sum_k z_k mu_k, (..., *event_shape), for `z` (..., K)."""
        return (z @ self.means).reshape((*z.shape[:-1], *self.event_shape))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of a new datum from the component that x came from, E[mu_k | x], (..., *event_shape)."""
        with self.predicting():
            return self.decode(self.encode(x.to(self.device)))

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Start from k-means: each component from the data of one cluster."""
        x = flatten(data["x"], self.event_shape, self.name)
        centres, own = k_means(x, self.components, starts=3)
        self.means.copy_(centres)
        self.logits.copy_((own.bincount(minlength=self.components) / len(x)).log())
        self.raw_scales.copy_(torch.stack([self.covariance.estimate(x[own == k]) for k in range(self.components)]))

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape."""
        check_event(self.name, "event_shape", data, self.event_shape)
