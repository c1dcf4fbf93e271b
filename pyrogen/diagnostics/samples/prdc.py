"""Samples and data by their nearest neighbours: precision and recall, density and coverage, memorization."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.samples.features import feature_pair

__all__ = ["Memorization", "density_coverage", "memorization", "nearest_neighbours", "precision_recall"]

_ELEMENTS = 2**22
"""Distances held at a time."""
_ROUNDING = 1e-6
"""Distances below this share of the points' largest norm are rounding, and the points equal."""


def precision_recall(samples: Tensor, data: Tensor, neighbours: int = 3) -> tuple[Estimate, Estimate]:
    """Precision, the share of samples that lie among the data, and recall, the share of data among the samples.

    A point lies among a set if it is no further from some member than that member's k-th nearest neighbour in the set
    is. A mode that is missing costs recall, a mode that is none of the data's costs precision. One outlier has a large
    ball, which flatters both; `density_coverage` counts balls.

    Args:
        samples: features (n, d) of what was generated.
        data: features (N, d) of data.
        neighbours: k.

    Returns:
        Precision and recall, each with the binomial standard error of a share, the balls held fixed.

    Raises:
        ValueError: features that do not compare, or no more rows than k.

    Example:
        >>> x = torch.randn(100, 2)
        >>> [share.value for share in precision_recall(x, x)]
        [1.0, 1.0]

    References:
        Kynkaanniemi et al. 2019, arXiv:1904.06991.
    """
    samples, data = feature_pair(samples, data, least=neighbours + 1)
    precision = _balls_around(samples, data, _radii(data, neighbours)) > 0
    recall = _balls_around(data, samples, _radii(samples, neighbours)) > 0
    return Estimate.share(precision), Estimate.share(recall)


def density_coverage(samples: Tensor, data: Tensor, neighbours: int = 5) -> tuple[Estimate, Estimate]:
    r"""Density, in how many of the data's balls a sample lies, over k, and coverage, the share of balls that hold any.

    The ball of a datum reaches to its k-th nearest neighbour among the data. Samples from the data's own distribution
    have an expected density of 1 and an expected coverage of

    $$ 1 - \prod_{j=1}^k \frac{N - j}{N + n - j}, $$

    about $1 - 2^{-k}$ at equal numbers. Samples that stray cost density; a mode that is missing costs coverage alone.

    Args:
        samples: features (n, d) of what was generated.
        data: features (N, d) of data.
        neighbours: k.

    Returns:
        Density and coverage, with the standard errors of a mean over samples and of a share of balls, each with the
        other set held fixed.

    Raises:
        ValueError: features that do not compare, or no more rows than k.

    Example:
        >>> x = torch.randn(100, 2)
        >>> [figure.value for figure in density_coverage(x + 100, x)]
        [0.0, 0.0]

    References:
        Naeem et al. 2020, arXiv:2002.09797.
    """
    samples, data = feature_pair(samples, data, least=neighbours + 1)
    radii = _radii(data, neighbours)
    density = _balls_around(samples, data, radii).double() / neighbours
    coverage = nearest_neighbours(data, samples)[0][:, 0] <= radii
    return Estimate.mean(density), Estimate.share(coverage)


class Memorization(NamedTuple):
    """How much nearer samples are to the training data than other data are.

    Args:
        nearer: the chance that a sample is nearer to its nearest training datum than a held-out datum is to its own
            (ties count half): 0.5 for fresh draws of the data's distribution, 1 for copies.
        p_value: how often fresh draws would be as near.
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
        samples: features (n, d) of what was generated.
        held_out: features (N, d) of data that training did not see.
        training: features (T, d) of the training data.

    Returns:
        The chance with its standard error (that of U-statistics, training data held fixed), and the p-value.

    Raises:
        ValueError: features that do not compare.

    Example:
        >>> training, held_out = torch.randn(200, 2), torch.randn(100, 2)
        >>> memorization(training[:100], held_out, training).nearer.value
        1.0

    References:
        Meehan, Chaudhuri, Dasgupta 2020, arXiv:2004.05675; DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44 (error).
    """
    from scipy.stats import mannwhitneyu

    samples, held_out = feature_pair(samples, held_out, least=2)
    held_out, training = feature_pair(held_out, training, least=1)
    of_samples, of_data = (nearest_neighbours(x, training)[0][:, 0] for x in (samples, held_out))
    nearer, further = _share_above(of_samples, of_data), 1 - _share_above(of_data, of_samples)
    error = math.hypot(Estimate.mean(nearer).error, Estimate.mean(further).error)
    test = mannwhitneyu(of_samples.numpy(), of_data.numpy(), alternative="less", method="asymptotic")
    return Memorization(Estimate(float(nearer.mean()), error), float(test.pvalue))


def nearest_neighbours(points: Tensor, others: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """The nearest of the others to each point, by Euclidean distance.

    Args:
        points: (n, d).
        others: (N, d), N at least `count`.
        count: how many.

    Returns:
        Distances (n, count), nearest first, and positions (n, count) among the others.

    Raises:
        ValueError: points of different widths, or too few others.

    Example:
        >>> distance, place = nearest_neighbours(torch.tensor([[0.0]]), torch.tensor([[5.0], [-1.0]]))
        >>> distance.item(), place.item()
        (1.0, 1)
    """
    others, points = feature_pair(others, points, least=1)
    if len(others) < count:
        raise ValueError(f"{count} nearest neighbours are asked for among {len(others)} points: ask for fewer")
    found = [block.topk(count, largest=False) for block in _distances(points, others)]
    return torch.cat([block.values for block in found]), torch.cat([block.indices for block in found])


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Distance of each point to its k-th nearest neighbour among the others, (n,)."""
    return nearest_neighbours(points, points, neighbours + 1)[0][:, -1]  # the nearest is the point itself


def _balls_around(points: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """In how many of the balls each point lies, (n,)."""
    return torch.cat([(block <= radii).sum(1) for block in _distances(points, centres)])


def _distances(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Distances (some points, others), a few points at a time."""
    centre = others.mean(0)
    points, others = points - centre, others - centre
    rounding = _ROUNDING * others.norm(dim=1).max()
    for block in points.split(max(1, _ELEMENTS // len(others))):
        distances = torch.cdist(block, others)
        yield distances.masked_fill_(distances < rounding, 0.0)


def _share_above(values: Tensor, others: Tensor) -> Tensor:
    """The share of the others that is above each value, ties by half, (n,)."""
    ranked = others.sort().values
    not_above = torch.searchsorted(ranked, values) + torch.searchsorted(ranked, values, right=True)
    return 1 - not_above.double() / (2 * len(others))
