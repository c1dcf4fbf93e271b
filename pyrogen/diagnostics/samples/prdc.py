"""Precision, recall, density, coverage and memorization of samples, by nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrogen.annotations import Count
from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.diagnostics.samples.features import validated_features

MEBIBYTES = 64
"""Memory of the distances that are held at once."""
_ZERO = 1e-6
"""Distances below this share of the points' largest norm are rounding errors of equal points."""
_TIED = 1 + 1e-9
"""Distances up to this ratio are equal to rounding."""


def precision_recall(samples: Tensor, data: Tensor, neighbours: Count = 3) -> tuple[Estimate, Estimate]:
    """Precision, the share of samples in the support of the data, and recall, the share of data in that of the samples.

    The support of a set is the union of balls around its points, each with the distance of the point's k-th nearest
    neighbour as radius. A missing mode costs recall, a mode that the data lack costs precision. An outlier has a large
    ball, which flatters both; `density_coverage` counts balls.

    Args:
        samples: features (n, d) of samples.
        data: features (N, d) of data.
        neighbours: k, 3 by default; both sets have more rows than that.

    Returns:
        Precision and recall, each with the binomial standard error of a share, the balls held fixed.

    Example:
        >>> x = torch.randn(100, 2)
        >>> [share.value for share in precision_recall(x, x)]
        [1.0, 1.0]

    References:
        Kynkaanniemi et al. 2019, arXiv:1904.06991.
    """
    samples, data = validated_features(samples, data, min_rows=neighbours + 1)
    precision = _count_balls(samples, data, _radii(data, neighbours)) > 0
    recall = _count_balls(data, samples, _radii(samples, neighbours)) > 0
    return Estimate.share(precision), Estimate.share(recall)


def density_coverage(samples: Tensor, data: Tensor, neighbours: Count = 5) -> tuple[Estimate, Estimate]:
    r"""Density, the mean number of data's balls that a sample lies in over k, and coverage, the share of balls hit.

    The ball of a datum reaches to its k-th nearest neighbour among the data. Samples from the data's own distribution
    have an expected density of 1 and an expected coverage of

    $$ 1 - \prod_{j=1}^k \frac{N - j}{N + n - j}, $$

    about $1 - 2^{-k}$ at equal numbers. Samples far from the data cost density; a missing mode costs coverage alone.

    Args:
        samples: features (n, d) of samples.
        data: features (N, d) of data.
        neighbours: k, 5 by default; both sets have more rows than that.

    Returns:
        Density and coverage, with the standard errors of a mean over samples and of a share of balls, each with the
        other set held fixed.

    Example:
        >>> x = torch.randn(100, 2)
        >>> [estimate.value for estimate in density_coverage(x + 100, x)]
        [0.0, 0.0]

    References:
        Naeem et al. 2020, arXiv:2002.09797.
    """
    samples, data = validated_features(samples, data, min_rows=neighbours + 1)
    radii = _radii(data, neighbours)
    density = _count_balls(samples, data, radii).double() / neighbours
    coverage = nearest_neighbours(data, samples)[0][:, 0] <= radii
    return Estimate.mean(density), Estimate.share(coverage)


class Memorization(NamedTuple):
    """How much nearer samples are to the training data than other data are.

    Args:
        nearer: the chance that a sample is nearer to its nearest training datum than a held-out datum is to its own
            (ties count half): 0.5 for fresh draws of the data's distribution, 1 for copies.
        p_value: probability that fresh draws are as near.
    """

    nearer: Estimate
    p_value: float


def memorization(samples: Tensor, held_out: Tensor, training: Tensor) -> Memorization:
    """Whether a generator copies its training data: the nearest training neighbours of samples and of held-out data.

    A Mann-Whitney test of the two sets of distances; it is the test C_T of Meehan et al. with one cell, whose statistic
    is U / (n N) here. It is one-sided. Below 0.5, samples stray further from the training data than data do. Above it
    are copies, and also samples that keep to the densest regions without being copies: look at them
    (`pyrogen.plots.sample_neighbours`).

    Args:
        samples: features (n, d) of samples.
        held_out: features (N, d) of data that training did not see.
        training: features (T, d) of the training data.

    Returns:
        The chance with its standard error (that of U-statistics, training data held fixed), and the p-value.

    Example:
        >>> training, held_out = torch.randn(200, 2), torch.randn(100, 2)
        >>> memorization(training[:100], held_out, training).nearer.value
        1.0

    References:
        Meehan, Chaudhuri, Dasgupta 2020, arXiv:2004.05675; DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44 (error).
    """
    from scipy.stats import mannwhitneyu

    samples, held_out = validated_features(samples, held_out, min_rows=2)
    held_out, training = validated_features(held_out, training, min_rows=1)
    of_samples, of_data = (nearest_neighbours(x, training)[0][:, 0].numpy() for x in (samples, held_out))
    test = mannwhitneyu(of_samples, of_data, alternative="less", method="asymptotic")
    return Memorization(Estimate.exceedance(of_data, of_samples), float(test.pvalue))


def nearest_neighbours(points: Tensor, others: Tensor, count: Count = 1) -> tuple[Tensor, Tensor]:
    """The nearest of the others to each point, by Euclidean distance.

    Args:
        points: (n, d).
        others: (N, d), N at least `count`.
        count: number of neighbours, 1 by default.

    Returns:
        Distances (n, count), nearest first, and indices (n, count) of the others. Computed by scikit-learn.

    Raises:
        ValueError: there are fewer others than `count`.

    Example:
        >>> distance, index = nearest_neighbours(torch.tensor([[0.0]]), torch.tensor([[5.0], [-1.0]]))
        >>> distance.item(), index.item()
        (1.0, 1)
    """
    from sklearn.neighbors import NearestNeighbors

    others, points = validated_features(others, points, min_rows=1)
    if len(others) < count:
        raise ValueError(f"{count} nearest neighbours are asked for among {len(others)} points: ask for fewer")
    x, y, zero = _centred(points, others)
    distances, indices = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(y).kneighbors(x)
    return torch.from_numpy(np.where(distances < zero, 0.0, distances)), torch.from_numpy(indices)


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Distance of each point to its k-th nearest neighbour among the others, (n,)."""
    return _TIED * nearest_neighbours(points, points, neighbours + 1)[0][:, -1]  # the nearest is the point itself


def _count_balls(points: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """The number of balls that each point lies in, (n,)."""
    from sklearn.metrics import pairwise_distances_chunked

    x, y, zero = _centred(points, centres)
    largest = np.maximum(radii.numpy(), zero)

    def count(distances: Array, start: int) -> Array:
        return np.asarray((distances <= largest).sum(1))

    chunks = pairwise_distances_chunked(x, y, reduce_func=count, working_memory=MEBIBYTES)
    return torch.from_numpy(np.concatenate(list(chunks)))


def _centred(points: Tensor, others: Tensor) -> tuple[Array, Array, float]:
    """Both less the others' mean, which keeps digits, and the distance that is 0 to rounding."""
    centre = others.mean(0)
    others = others - centre
    return (points - centre).numpy(), others.numpy(), _ZERO * float(others.norm(dim=1).max())
