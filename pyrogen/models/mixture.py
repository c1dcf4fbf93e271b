"""The Gaussian mixture, its discrete latent summed out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.distributions import Covariance, Full, reshape_events
from pyrogen.models.event_story import EncoderDecoderStory
from pyrogen.models.kmeans import k_means
from pyrogen.nn import Shape, as_shape, flatten


class GaussianMixture(EncoderDecoderStory):
    """k ~ Categorical(pi),  x | k ~ N(mu_k, C_k):  p(x) = sum_k pi_k N(x; mu_k, C_k).

    The latent k is marked for enumeration, and `TraceEnum_ELBO` sums it out: the ELBO is log p(x), and the guide is
    empty. Training starts from k-means. As the C_k shrink together, p(k | x) becomes k-means' assignment.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        components: number of components K.
        covariance: form of each C_k, whose floor keeps the likelihood bounded; `Full()` by default.

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
        """p(k) p(x | k).

        Args:
            x: data to observe, (n, *event_shape), or None to draw them.
            n: number of rows.

        Returns:
            x, drawn or observed, (n, *event_shape).
        """
        with pyro.plate("data", n, dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            return pyro.sample("x", self.component(k), obs=x)

    def guide(self, x: Tensor, n: int) -> None:
        """Empty: k is summed out.

        Args:
            x: data, (n, *event_shape).
            n: number of rows.
        """

    def component(self, k: Tensor | int) -> dist.TorchDistribution:
        """p(x | k).

        Args:
            k: indices of components, (...), from 0 to K - 1.

        Returns:
            Batch shape (...), event shape `event_shape`.
        """
        return reshape_events(self.covariance(self.means[k], self.raw_scales[k]), self.event_shape)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, k) for each k.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., K) in nats.
        """
        each = [self.component(k).log_prob(x) for k in range(self.components)]
        return torch.stack(each, -1) + self.logits.log_softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) in nats.
        """
        return self.log_joint(x).logsumexp(-1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x), exactly.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (..., K), non-negative, with sum 1.
        """
        return self.log_joint(x).softmax(-1)

    def encode(self, x: Tensor) -> dist.Delta:
        """The code of a datum, its responsibilities, as a point.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (K,).
        """
        return dist.Delta(self.responsibilities(x), event_dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of x where k has the probabilities z, sum_k z_k mu_k.

        Args:
            z: codes, (..., K).

        Returns:
            (..., *event_shape).
        """
        return (z @ self.means).reshape((*z.shape[:-1], *self.event_shape))

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Start from k-means: each component from the data of one cluster.

        Args:
            data: the training columns, `x` (N, *event_shape), of at least K different rows.
        """
        x = flatten(data["x"], self.event_shape, self.name)
        centres, cluster = k_means(x, self.components, starts=3)
        self.means.copy_(centres)
        self.logits.copy_((cluster.bincount(minlength=self.components) / len(x)).log())
        self.raw_scales.copy_(torch.stack([self.covariance.estimate(x[cluster == k]) for k in range(self.components)]))
