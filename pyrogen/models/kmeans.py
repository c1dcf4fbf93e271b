"""k-means: a partition of space, and a baseline for mixtures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyrogen.nn import Shape, as_shape, flatten
from pyrogen.story import Story, check_event

__all__ = ["KMeans", "k_means"]


class KMeans(Story):
    """K centres c_k that minimize sum_i min_k |x_i - c_k|^2; the code of x is the one-hot vector of its nearest centre.

    The limit of a Gaussian mixture whose components share a variance that tends to 0, with no density of its own.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        clusters: number of centres K.

    Raises:
        ValueError: by `prepare`, fewer data than centres; by `check`, x of another event shape.

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
        "density": "k-means divides space into cells and says nothing of how data lie in them; see mixture",
        "sample": "k-means divides space into cells and defines no distribution over x; see mixture",
        "meta": "it has no model to trace",
    }

    def __init__(self, event_shape: Shape, clusters: int) -> None:
        super().__init__()
        self.event_shape, (self.clusters,) = as_shape(event_shape), as_shape(clusters)
        self.centres = nn.Parameter(torch.zeros(self.clusters, math.prod(self.event_shape)))

    def model(self, x: Tensor | None, n: int) -> None:
        """There is none."""
        self.require("density")

    def guide(self, x: Tensor, n: int) -> None:
        """There is none."""
        self.require("guide")

    def assign(self, x: Tensor) -> Tensor:
        """The number of the nearest centre, (...) int64, for `x` (..., *event_shape)."""
        return torch.cdist(flatten(x, self.event_shape, self.name), self.centres).argmin(-1)

    def encode(self, x: Tensor) -> Tensor:
        """The one-hot code z of the nearest centre, (..., K), for `x` (..., *event_shape)."""
        return nn.functional.one_hot(self.assign(x), self.clusters).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """The centre sum_k z_k c_k, (..., *event_shape), for `z` (..., K)."""
        return (z @ self.centres).reshape((*z.shape[:-1], *self.event_shape))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The nearest centre, (..., *event_shape)."""
        with self.predicting():
            return self.decode(self.encode(x.to(self.device)))

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Find the centres, the best of ten starts by k-means++."""
        self.centres.copy_(k_means(flatten(data["x"], self.event_shape, self.name), self.clusters)[0])

    def check(self, data: Mapping[str, Tensor]) -> None:
        """Refuse an x of another event shape."""
        check_event(self.name, "event_shape", data, self.event_shape)


def k_means(x: Tensor, clusters: int, starts: int = 10) -> tuple[Tensor, Tensor]:
    """The centres (K, D), and the number of each row's own (N,), by scikit-learn; torch's random state is the seed.

    Args:
        x: (N, D).
        clusters: number of centres K.
        starts: how often it is tried; the best is kept.

    Raises:
        ValueError: there are fewer different rows than clusters.
    """
    from sklearn.cluster import KMeans as Lloyd
    from sklearn.exceptions import ConvergenceWarning

    if len(x) < clusters:
        raise ValueError(f"{clusters} clusters need as many data, and there are {len(x)}: take fewer clusters")
    seed = int(torch.randint(2**31 - 1, (), device="cpu"))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # what it warns of is refused below
        found = Lloyd(clusters, n_init=starts, random_state=seed).fit(x.cpu().numpy())
    centres, own = torch.as_tensor(found.cluster_centers_), torch.as_tensor(found.labels_)
    if len(own.unique()) < clusters:
        raise ValueError(f"{clusters} clusters need as many different data: take fewer clusters")
    return centres.to(x), own.to(x.device, torch.int64)
