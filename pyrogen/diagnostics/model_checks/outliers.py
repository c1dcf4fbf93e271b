"""Outlier scores by log-likelihood and typicality, and the area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.inference import log_likelihood


@dataclass(frozen=True)
class OutlierScores:
    """Outlier scores of each datum, by its log-likelihood among those of a reference set.

    Args:
        log_likelihood: (N,) in nats.
        reference: (M,) those of the reference set.
    """

    log_likelihood: Array
    reference: Array

    @property
    def typicality(self) -> Array:
        """(N,): |log p(x) - mean| / sd, mean and sd over the reference set. Both tails are unusual."""
        return self._distance(self.log_likelihood)

    @property
    def raw(self) -> Array:
        """(N,): -log p(x). It is lowest at the mode, which is not typical in many dimensions."""
        return -self.log_likelihood

    @property
    def p_value(self) -> Array:
        """(N,): p-values (1 + number of reference data that are no more typical) / (1 + M)."""
        reference = np.sort(self._distance(self.reference))
        as_far = len(reference) - np.searchsorted(reference, self.typicality, side="left")
        return np.asarray((1 + as_far) / (1 + len(reference)))

    def _distance(self, log_likelihood: Array) -> Array:
        return np.asarray(np.abs(log_likelihood - self.reference.mean()) / self.reference.std(ddof=1))

    def __str__(self) -> str:
        share = float((self.p_value < 0.01).mean())
        return f"{share:.1%} of {len(self.log_likelihood)} data are less typical than 99 % of the reference's"


def outlier_scores(
    fitted: Any, data: Any, reference: Any, num_samples: Count = 100, *, seed: Seed = 0, exact: bool | None = None
) -> OutlierScores:
    """Outlier scores by log p(x), exact or importance-weighted, against data like those of training.

    A high likelihood does not make a datum typical: in many dimensions no datum is near the mode, and images that are
    smoother than all training data have higher likelihoods than these.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        reference: validation data, which training did not see.
        num_samples: draws for each datum, 100 by default.
        seed: of the draws, 0 by default.
        exact: as `log_likelihood` takes it; None by default.

    Returns:
        The log-likelihoods, from which the scores follow.

    Raises:
        ValueError: there are fewer than two reference data.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(200, 4)
        >>> story = PPCA(4, latent=2).maximum_likelihood(x)
        >>> scores = outlier_scores(story, 10 + x[:50], x)
        >>> bool(scores.p_value.max() < 0.01)
        True
        >>> print(roc_auc(scores.typicality, outlier_scores(story, x, x).typicality))
        1

    References:
        Nalisnick, Matsukawa, Teh, Gorur, Lakshminarayanan 2019, arXiv:1810.09136; Nalisnick, Matsukawa, Teh,
        Lakshminarayanan 2019, arXiv:1906.02994 (typicality).
    """
    estimates = (log_likelihood(fitted, d, num_samples, seed=seed, exact=exact) for d in (data, reference))
    mine, theirs = (estimate.value.double().numpy() for estimate in estimates)
    if len(theirs) < 2:
        raise ValueError(f"reference: expected at least two data, got {len(theirs)}")
    return OutlierScores(mine, theirs)


def roc_auc(outliers: Array, inliers: Array) -> Estimate:
    """The area under the ROC curve, P(score of an outlier > score of an inlier), ties half.

    Args:
        outliers: scores (n,) of data that should score high.
        inliers: scores (m,) of data that should score low.

    Returns:
        The area, with its standard error over data of both kinds.

    Raises:
        ValueError: there are fewer than two of either.

    References:
        DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44(3).
    """
    if min(len(outliers), len(inliers)) < 2:
        raise ValueError(f"expected at least two scores of each kind, got {len(outliers)} and {len(inliers)}")
    return Estimate.exceedance(outliers, inliers)
