"""Principal component analysis: a projection, and the baseline of probabilistic PCA."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrogen.models.checks import check_latent
from pyrogen.models.event_story import ProjectionStory
from pyrogen.models.principal_axes import principal_axes
from pyrogen.nn import Shape, as_shape, flatten


class PCA(ProjectionStory):
    """The K orthonormal directions U that minimize sum_i |x_i - mu - U U'(x_i - mu)|^2; the code of x is U'(x - mu).

    mu is the data's mean, and U the eigenvectors of their covariance with the largest eigenvalues, each with its
    largest entry positive. The limit of probabilistic PCA as its noise tends to 0, with no density of its own.

    Args:
        event_shape: shape of one datum, flattened to D features inside.
        latent: number of directions K, at most D.

    Raises:
        ValueError: there are more directions than features.

    Example:
        >>> story = PCA(2, latent=1)
        >>> story.prepare({"x": torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])})
        >>> (
        ...     story.encode(torch.tensor([[2.0, 1.0]])).mean.tolist(),
        ...     story.reconstruct(torch.tensor([[2.0, 1.0]])).tolist(),
        ... )
        ([[2.0]], [[2.0, 0.0]])

    References:
        Pearson 1901, Philosophical Magazine 2(11); Hotelling 1933, Journal of Educational Psychology 24.
    """

    unsupported = {
        "steps": "its directions are known in closed form",
        "guide": "its codes are a projection, not latents",
        "density": "PCA projects x onto a plane and defines no density there; see ppca",
        "sample": "PCA projects x onto a plane and defines no distribution over x; see ppca",
        "meta": "it has no model to trace",
    }

    def __init__(self, event_shape: Shape, latent: int) -> None:
        super().__init__()
        self.event_shape, (self.latent,) = as_shape(event_shape), as_shape(latent)
        features = math.prod(self.event_shape)
        check_latent(self.name, self.latent, features)
        self.mean = nn.Parameter(torch.zeros(features))
        self.axes = nn.Parameter(torch.eye(features, self.latent))

    def encode(self, x: Tensor) -> dist.Delta:
        """The code z = U'(x - mu), as a point.

        Args:
            x: data, (..., *event_shape).

        Returns:
            Batch shape (...), event shape (K,).
        """
        return dist.Delta((flatten(x, self.event_shape, self.name) - self.mean) @ self.axes, event_dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """The point U z + mu of the plane.

        Args:
            z: codes, (..., K).

        Returns:
            (..., *event_shape).
        """
        return (z @ self.axes.T + self.mean).reshape((*z.shape[:-1], *self.event_shape))

    @torch.no_grad()
    def prepare(self, data: Mapping[str, Tensor]) -> None:
        """Find mean and directions.

        Args:
            data: the training columns, `x` (N, *event_shape).
        """
        mean, _, axes = principal_axes(flatten(data["x"], self.event_shape, self.name), self.latent)
        self.mean.copy_(mean)
        self.axes.copy_(axes)
