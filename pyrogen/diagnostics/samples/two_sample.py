"""Two-sample tests of samples and data: maximum mean discrepancy, and a classifier."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Estimate
from pyrogen.diagnostics.samples.features import validated_features


def kernel_distance(samples: Tensor, data: Tensor, blocks: Count = 10) -> Estimate:
    r"""The squared maximum mean discrepancy for the kernel $k(x, y) = (x \cdot y / d + 1)^3$, without bias.

    $$ E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y), \qquad x, x' \sim p, \quad y, y' \sim q $$

    It compares all moments up to the third, and is 0 where these agree; estimates may be negative. In Inception
    features it is the KID.

    Args:
        samples: features (n, d) of samples.
        data: features (N, d) of data; in both, rows are in random order.
        blocks: number of blocks of at least two rows, 10 by default; the estimate is the mean over blocks, each
            unbiased.

    Returns:
        The squared discrepancy, with the standard error of a mean of independent blocks.

    Example:
        >>> kernel_distance(torch.randn(400, 2) + 2, torch.randn(400, 2)).value > 1
        True

    References:
        Gretton et al. 2012, JMLR 13; Zaremba, Gretton, Blaschko 2013, arXiv:1307.1954 (blocks); Binkowski et al. 2018,
        arXiv:1801.01401. Each block is computed by torchmetrics.
    """
    from torchmetrics.image.kid import poly_mmd

    samples, data = validated_features(samples, data, min_rows=2 * blocks)
    size = min(len(samples), len(data)) // blocks
    pairs = zip(samples.split(size)[:blocks], data.split(size)[:blocks], strict=True)
    return Estimate.mean(torch.stack([poly_mmd(y, x) for x, y in pairs]))


class TwoSample(NamedTuple):
    """The result of a classifier two-sample test.

    Args:
        accuracy: on held-out rows, half of them samples; 1/2 for equal distributions.
        p_value: probability of at least this accuracy under equal distributions.
    """

    accuracy: Estimate
    p_value: float


def classifier_two_sample(samples: Tensor, data: Tensor, *, classifier: Any = None, seed: Seed = 0) -> TwoSample:
    r"""Train a classifier to distinguish samples from data on half of the rows, and test it on the others.

    The best accuracy that any classifier can have is $1/2 + \operatorname{TV}(p, q)/2$, which for unit normals whose
    means are delta apart is Phi(delta / 2). Whatever the classifier, the test holds its level: under the null
    hypothesis the number of right answers is binomial with chance 1/2 (or varies less). A low accuracy may be a weak
    classifier's.

    Args:
        samples: features (n, d) of samples, at least 20.
        data: features (N, d) of data, at least 20; of the larger set only as many rows, from the first on, as the
            smaller has.
        classifier: any of scikit-learn's; None, the default: one hidden layer of 64 units, with weight decay, on
            standardized features.
        seed: of the split and of the classifier, 0 by default.

    Returns:
        Held-out accuracy with its binomial standard error, and the one-sided p-value of the exact binomial test.

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
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    samples, data = validated_features(samples, data, min_rows=20)
    n = min(len(samples), len(data))
    x, y = torch.cat([samples[:n], data[:n]]).numpy(), torch.arange(2 * n).numpy() < n
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
    if classifier is None:
        classifier = make_pipeline(StandardScaler(), MLPClassifier((64,), alpha=0.1, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the test is valid for any classifier
        classifier.fit(train_x, train_y)
    right = classifier.predict(test_x) == test_y
    return TwoSample(Estimate.share(torch.from_numpy(right)), float(binom.sf(right.sum() - 1, len(right), 0.5)))
