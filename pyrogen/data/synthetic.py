"""Synthetic data sets with an exact density."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from pyrogen.data.columns import Columns
from pyrogen.data.splits import Splits

_SIZES = (7_000, 1_000, 2_000)
_Known = TypeVar("_Known", "LinearGaussian", "Ring")


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """A probabilistic PCA: z ~ N(0, I), x given z ~ N(W z + mu, sigma2 I), hence x ~ N(mu, W W' + sigma2 I).

    Args:
        W: loadings (D, K), float64.
        mu: mean (D,), float64.
        sigma2: noise variance (), float64.
        test_log_prob: log p of each test row in nats, (N,), float64; empty by default.

    Example:
        >>> flat = LinearGaussian(torch.zeros(2, 1).double(), torch.zeros(2).double(), torch.tensor(1.0).double())
        >>> round(flat.log_prob(torch.zeros(1, 2)).item(), 4)
        -1.8379

    References:
        Tipping and Bishop, 1999, Probabilistic principal component analysis.
    """

    W: Tensor
    mu: Tensor
    sigma2: Tensor
    test_log_prob: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))

    def log_prob(self, x: Tensor) -> Tensor:
        """The exact log density.

        Args:
            x: data (N, D).

        Returns:
            Log p of each row in nats, (N,), float64.
        """
        covariance = self.W @ self.W.T + self.sigma2 * torch.eye(len(self.mu), dtype=torch.float64)
        return MultivariateNormal(self.mu, covariance).log_prob(x.cpu().double())


@dataclass(frozen=True, eq=False)
class Ring:
    """Equal Gaussians on a circle: p(x) = 1/M sum_m N(x; mean_m, sd^2 I) in the plane.

    Args:
        means: centres (M, 2), float64.
        sd: standard deviation of each component in each direction.
        test_log_prob: log p of each test row in nats, (N,), float64; empty by default.
    """

    means: Tensor
    sd: float
    test_log_prob: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))

    def log_prob(self, x: Tensor) -> Tensor:
        """The exact log density.

        Args:
            x: data (N, 2).

        Returns:
            Log p of each row in nats, (N,), float64.
        """
        weights = Categorical(logits=torch.zeros(len(self.means), dtype=torch.float64))
        mixture = MixtureSameFamily(weights, Independent(Normal(self.means, self.sd), 1))
        return mixture.log_prob(x.cpu().double())


def linear_gaussian(root: Path, download: bool = False) -> Splits:
    """Data of a probabilistic PCA with D = 8 and K = 3: x (N, 8).

    Args:
        root: not used: the data are generated.
        download: not used.

    Returns:
        The splits: 7,000, 1,000 and 2,000 rows, their exact density as `truth`.

    Example:
        >>> splits = linear_gaussian(Path())
        >>> splits.event_shape, splits.truth.W.shape
        ((8,), torch.Size([8, 3]))
    """
    generator = np.random.Generator(np.random.PCG64(83))
    W, mu = generator.standard_normal((8, 3)), generator.standard_normal(8)
    sigma2 = 0.25
    rows = sum(_SIZES)
    z, noise = generator.standard_normal((rows, 3)), generator.standard_normal((rows, 8))
    x = z @ W.T + mu + math.sqrt(sigma2) * noise
    truth = LinearGaussian(torch.from_numpy(W), torch.from_numpy(mu), torch.tensor(sigma2, dtype=torch.float64))
    return _splits("linear_gaussian", {"x": torch.from_numpy(x).float()}, truth)


def ring(root: Path, download: bool = False) -> Splits:
    """Data of eight Gaussians of sd 0.05 on a circle of radius 2: x (N, 2), y the component.

    Args:
        root: not used: the data are generated.
        download: not used.

    Returns:
        The splits: 7,000, 1,000 and 2,000 rows, their exact density as `truth`.

    Example:
        >>> splits = ring(Path())
        >>> splits.event_shape, splits.classes
        ((2,), 8)
    """
    generator = np.random.Generator(np.random.PCG64(82))
    rows, sd = sum(_SIZES), 0.05
    angle = 2 * math.pi * np.arange(8) / 8
    means = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    y = (8 * generator.random(rows)).astype(np.int64)
    x = means[y] + sd * generator.standard_normal((rows, 2))
    columns = {"x": torch.from_numpy(x).float(), "y": torch.from_numpy(y)}
    return _splits("ring", columns, Ring(torch.from_numpy(means), sd), classes=8)


def _splits(name: str, columns: dict[str, Tensor], truth: _Known, classes: int | None = None) -> Splits:
    pieces = {key: column.split(_SIZES) for key, column in columns.items()}
    train, validation, test = (Columns({key: piece[part] for key, piece in pieces.items()}) for part in range(3))
    known = replace(truth, test_log_prob=truth.log_prob(test["x"]))
    return Splits(name, train, validation, test, classes=classes, truth=known)
