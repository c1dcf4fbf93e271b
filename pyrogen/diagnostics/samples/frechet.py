"""The Frechet distance of samples and data, which compares means and covariances."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyrogen.annotations import Count
from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.samples.features import validated_features


def frechet_distance(samples: Tensor, data: Tensor, groups: Count = 20) -> Estimate:
    r"""The squared Wasserstein-2 distance between Gaussians with the means and covariances of samples and data.

    $$ |m_1 - m_2|^2 + \operatorname{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2}) $$

    It depends on the first two moments alone. It is biased upwards, by O(1/n) and more the more features there are:
    only distances at equal numbers of rows and in the same features compare, and samples of the data's own distribution
    do not score 0. In Inception features it is the FID.

    Args:
        samples: features (n, d) of samples.
        data: features (N, d) of data; in both, rows are in random order.
        groups: number of groups of at least two rows, each left out once for the error (a delete-a-group jackknife of
            both sets); 20 by default.

    Returns:
        The distance in squared units of the features, with its standard error, which does not include the bias.

    Example:
        >>> x = torch.randn(500, 2)
        >>> round(frechet_distance(x + torch.tensor([3.0, 4.0]), x).value, 3)
        25.0

    References:
        Dowson, Landau 1982, J. Multivariate Analysis 12(3); Heusel et al. 2017, arXiv:1706.08500; Chong, Forsyth 2020,
        arXiv:1911.07023 (bias); Tukey 1958, Ann. Math. Statist. 29, 614 (jackknife). Computed by torchmetrics.
    """
    samples, data = validated_features(samples, data, min_rows=2 * groups)
    left_out = [_distance(_without(samples, g, groups), _without(data, g, groups)) for g in range(groups)]
    spread = torch.tensor(left_out, dtype=torch.float64).std(correction=0)
    return Estimate(_distance(samples, data), float(spread) * math.sqrt(groups - 1))


class _Identity(nn.Identity):
    """Computed features as they are; without `num_features`, torchmetrics would apply it to an image."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def _distance(samples: Tensor, data: Tensor) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_Identity(samples.shape[1]))
    centre = data.mean(0)  # sums of squares lose digits far from 0
    metric.update(data - centre, real=True)
    metric.update(samples - centre, real=False)
    return float(metric.compute())


def _without(rows: Tensor, group: int, groups: int) -> Tensor:
    return rows[torch.arange(len(rows)) % groups != group]
