"""The Frechet distance between samples and data: their means and covariances compared."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.samples.features import feature_pair

__all__ = ["frechet_distance"]


def frechet_distance(samples: Tensor, data: Tensor, groups: int = 20) -> Estimate:
    r"""The squared Wasserstein-2 distance between Gaussians with the means and covariances of samples and data.

    $$ |m_1 - m_2|^2 + \operatorname{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2}) $$

    It sees no more than two moments. It is biased upwards, by O(1/n) and more the more features there are: only
    distances at equal numbers of rows and in the same features compare, and data of the same distribution do not score
    0. In Inception features it is the FID.

    Args:
        samples: features (n, d) of what was generated.
        data: features (N, d) of data; in both, rows come in random order.
        groups: of rows, each left out once for the error, a delete-a-group jackknife of both sets.

    Returns:
        The distance in squared units of the features, with its standard error, which knows nothing of the bias.

    Raises:
        ValueError: features that do not compare, or fewer rows than two for each group.

    Example:
        >>> x = torch.randn(500, 2)
        >>> round(frechet_distance(x + torch.tensor([3.0, 4.0]), x).value, 3)
        25.0

    References:
        Dowson, Landau 1982, J. Multivariate Analysis 12(3); Heusel et al. 2017, arXiv:1706.08500; Chong, Forsyth 2020,
        arXiv:1911.07023 (bias); Tukey 1958, Ann. Math. Statist. 29, 614 (jackknife). Computed by torchmetrics.
    """
    samples, data = feature_pair(samples, data, least=2 * groups)
    left_out = [_distance(_without(samples, g, groups), _without(data, g, groups)) for g in range(groups)]
    spread = torch.tensor(left_out, dtype=torch.float64).std(correction=0)
    return Estimate(_distance(samples, data), float(spread) * math.sqrt(groups - 1))


class _AsTheyAre(nn.Identity):
    """Features that were taken already; their number is said, for else torchmetrics would try an image."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def _distance(samples: Tensor, data: Tensor) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_AsTheyAre(samples.shape[1]))
    centre = data.mean(0)  # sums of squares lose digits far from 0
    metric.update(data - centre, real=True)
    metric.update(samples - centre, real=False)
    return float(metric.compute())


def _without(rows: Tensor, group: int, groups: int) -> Tensor:
    return rows[torch.arange(len(rows)) % groups != group]
