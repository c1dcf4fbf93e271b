"""Tests of whether samples and data come from one distribution: by a kernel, and by a classifier."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.samples.features import feature_pair

__all__ = ["TwoSample", "classifier_two_sample", "kernel_distance"]


def kernel_distance(samples: Tensor, data: Tensor, blocks: int = 10) -> Estimate:
    r"""The squared maximum mean discrepancy for the kernel $k(x, y) = (x \cdot y / d + 1)^3$, without bias.

    $$ E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y), \qquad x, x' \sim p, \quad y, y' \sim q $$

    It compares all moments up to the third, and is 0 where these agree; estimates may be negative. In Inception
    features it is the KID.

    Args:
        samples: features (n, d) of what was generated.
        data: features (N, d) of data; in both, rows come in random order.
        blocks: into which rows are cut; the figure is the mean over blocks, each an unbiased estimate on its own.

    Returns:
        The squared discrepancy, with the standard error of a mean of independent blocks.

    Raises:
        ValueError: features that do not compare, or fewer rows than two for each block.

    Example:
        >>> kernel_distance(torch.randn(400, 2) + 2, torch.randn(400, 2)).value > 1
        True

    References:
        Gretton et al. 2012, JMLR 13; Zaremba, Gretton, Blaschko 2013, arXiv:1307.1954 (blocks); Binkowski et al. 2018,
        arXiv:1801.01401. Each block is computed by torchmetrics.
    """
    from torchmetrics.image.kid import poly_mmd

    samples, data = feature_pair(samples, data, least=2 * blocks)
    size = min(len(samples), len(data)) // blocks
    pairs = zip(samples.split(size)[:blocks], data.split(size)[:blocks], strict=True)
    return Estimate.mean(torch.stack([poly_mmd(y, x) for x, y in pairs]))


class TwoSample(NamedTuple):
    """What a classifier made of samples and data.

    Args:
        accuracy: on rows that it was not trained on, half of them samples; 0.5 where the two cannot be told apart.
        p_value: how often it would guess as well if they came from one distribution.
    """

    accuracy: Estimate
    p_value: float


def classifier_two_sample(samples: Tensor, data: Tensor, *, classifier: Any = None, seed: int = 0) -> TwoSample:
    r"""Train a classifier to tell samples from data on half of the rows, and count how many of the others it tells.

    The best accuracy any classifier can have is $1/2 + \operatorname{TV}(p, q)/2$, which for unit normals whose means
    are delta apart is Phi(delta / 2). Whatever the classifier, the test holds its level: under the null hypothesis the
    number of right answers is binomial with chance 1/2 (or varies less). A low accuracy may be a weak classifier's.

    Args:
        samples: features (n, d) of what was generated.
        data: features (N, d) of data; of the larger set only as many rows, from the first on, as the smaller has.
        classifier: any of scikit-learn's; None: one hidden layer of 64, with weight decay, on standardized features.
        seed: of the halves and of the classifier.

    Returns:
        Held-out accuracy with its binomial standard error, and the one-sided p-value of the exact binomial test.

    Raises:
        ValueError: features that do not compare, or fewer than 20 rows.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> x, y = torch.randn(200, 1), torch.randn(200, 1)
        >>> classifier_two_sample(x + 9, y, classifier=LogisticRegression()).accuracy.value
        1.0

    References:
        Lopez-Paz, Oquab 2017, arXiv:1610.06545.
    """
    from scipy.stats import binom
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split

    samples, data = feature_pair(samples, data, least=20)
    n = min(len(samples), len(data))
    x, y = torch.cat([samples[:n], data[:n]]).numpy(), torch.arange(2 * n).numpy() < n
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
    judge = _judge(seed) if classifier is None else classifier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a classifier that is not the best one tests as well
        judge.fit(train_x, train_y)
    right = judge.predict(test_x) == test_y
    return TwoSample(Estimate.share(torch.from_numpy(right)), float(binom.sf(right.sum() - 1, len(right), 0.5)))


def _judge(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier((64,), alpha=0.1, random_state=seed))
