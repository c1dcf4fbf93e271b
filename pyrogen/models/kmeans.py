"""k-means: a partition of space, and a baseline for mixtures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.models.event_story import ProjectionStory
from pyrogen.nn import Shape, as_shape, flatten


class KMeans(ProjectionStory):
    """K centres c_k that minimize sum_i min_k |x_i - c_k|^2; the code of x is the one-hot vector of its nearest centre.

    The limit of a Gaussian mixture whose components share a variance that tends to 0, with no density of its own.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        clusters: number of centres K.

    Example:
        >>> story = KMeans(1, clusters=2)
        >>> story.prepare({"x": torch.tensor([[0.0], [1.0], [10.0], [11.0]])})
        >>> sorted(story.centres[:, 0].tolist()), story.reconstruct(torch.tensor([[9.0]])).tolist()
        ([0.5, 10.5], [[10.5]])

    References:
        Lloyd 1982, IEEE Transactions on Information Theory 28(2); Arthur, Vassilvitskii 2007, k-means++.
    """

    unsupported = {
        "steps": "its centres are found by Lloyd's algorithm",
        "guide": "it has no latents, but a partition of space",
        "density": "k-means divides space into cells and defines no density within them; see mixture",
        "sample": "k-means divides space into cells and defines no distribution over x; see mixture",
        "meta": "it has no model to trace",
    }

    def __init__(self, event_shape: Shape, clusters: int) -> None:
        super().__init__()
        self.event_shape, (self.clusters,) = as_shape(event_shape), as_shape(clusters)
        self.centres = nn.Parameter(torch.zeros(self.clusters, math.prod(self.event_shape)))

    def assign(self, x: Tensor) -> Tensor:
        """The index of the nearest centre.

        Args:
            x: data, (..., *event_shape).

        Returns:
            (...) int64, from 0 to K - 1.
        """
        return torch.cdist(flatten(x, self.event_shape, self.name), self.centres).argmin(-1)

    def encode(self, x: Tensor) -> dist.Delta:
        """The one-hot code of the nearest centre, as a point.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (K,).
        """
        return dist.Delta(nn.functional.one_hot(self.assign(x), self.clusters).to(x.dtype), event_dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """The centre sum_k z_k c_k.

        Args:
            z: codes, (..., K).

        Returns:
            (..., *event_shape).
        """
        return (z @ self.centres).reshape((*z.shape[:-1], *self.event_shape))

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Find the centres, the best of ten starts by k-means++.

        Args:
            data: the training columns, `x` (N, *event_shape), of at least K different rows.
        """
        self.centres.copy_(k_means(flatten(data["x"], self.event_shape, self.name), self.clusters)[0])


def k_means(x: Tensor, clusters: int, starts: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm with k-means++ starts, by scikit-learn, seeded from torch's random state.

    Args:
        x: data, (N, D).
        clusters: number of centres K.
        starts: number of random starts, of which the best is kept; 10 by default.

    Returns:
        The centres (K, D), and for each row the index of its cluster, (N,) int64.

    Raises:
        ValueError: there are fewer different rows than clusters.
    """
    from sklearn.cluster import KMeans as Lloyd
    from sklearn.exceptions import ConvergenceWarning

    if len(x) < clusters:
        raise ValueError(f"{clusters} clusters need as many data, and there are {len(x)}: take fewer clusters")
    seed = int(torch.randint(2**31 - 1, (), device="cpu"))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # what it warns of is refused below
        fitted = Lloyd(clusters, n_init=starts, random_state=seed).fit(x.cpu().numpy())
    centres, labels = torch.as_tensor(fitted.cluster_centers_), torch.as_tensor(fitted.labels_)
    if len(labels.unique()) < clusters:
        raise ValueError(f"{clusters} clusters need as many different data: take fewer clusters")
    return centres.to(x), labels.to(x.device, torch.int64)
