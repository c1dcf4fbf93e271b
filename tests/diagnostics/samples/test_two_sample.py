import math

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from pyrogen.diagnostics import classifier_two_sample, kernel_distance
from tests.helpers.statistics import assert_frequencies, assert_within


def test_the_kernel_distance_of_two_normals_follows_from_their_moments():
    """(x y + 1)^3 = sum_j C(3, j) x^j y^j, so that it is sum_j C(3, j) (E x^j - E y^j)^2."""
    shift = 0.5
    exact = 3 * shift**2 + 3 * (shift**2) ** 2 + (3 * shift + shift**3) ** 2
    found = kernel_distance(torch.randn(20_000, 1) + shift, torch.randn(20_000, 1), blocks=100)
    assert_within(found.value, exact, found.error)
    assert found.error < 0.1 * exact


def test_the_kernel_is_scaled_by_the_number_of_features():
    """(x1 y1 / 2 + x2 y2 / 2 + 1)^3: a shift by (1, 0) moves E x1, E x1^2, E x1^3, E x1 x2^2 by 1, 1, 4, 1."""
    x, y = torch.randn(2, 20_000, 2)
    found = kernel_distance(x + torch.tensor([1.0, 0.0]), y, blocks=100)
    assert_within(found.value, 3 * 1**2 / 2 + 3 * 1**2 / 4 + 4**2 / 8 + 3 * 1**2 / 8, found.error)


def test_the_kernel_distance_has_no_bias():
    found = [kernel_distance(torch.randn(200, 3), torch.randn(200, 3)) for _ in range(100)]
    values = torch.tensor([estimate.value for estimate in found])
    assert_within(values.mean(), 0.0, values.std() / 10)
    assert (values < 0).any()
    errors = torch.tensor([estimate.error for estimate in found])
    assert_within(errors.square().mean(), values.var(), values.var() * math.sqrt(2 / 99))


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_accuracy_on_shifted_normals_is_that_of_the_best_classifier(shift, seed):
    x, y = torch.randn(2, 8000, 1)
    found = classifier_two_sample(x + shift, y, seed=seed)
    best = float(torch.special.ndtr(torch.tensor(shift / 2)))
    assert_within(found.accuracy.value, best, found.accuracy.error)
    assert found.p_value < 1e-9


def test_a_missing_mode_is_detected_with_few_rows(seed):
    """Of four, three are missing: half of the rows are samples, and an eighth are data among them."""
    data = 10.0 * torch.randint(4, (400, 1)) + torch.randn(400, 1)
    found = classifier_two_sample(torch.randn(400, 1), data, seed=seed)
    assert_within(found.accuracy.value, 1 - 1 / 8, found.accuracy.error)


def test_under_one_distribution_the_p_value_holds_its_level(seed):
    """Even by a classifier that memorizes its training data."""
    classifier, levels, tries = KNeighborsClassifier(1), torch.tensor([0.05, 0.25, 0.5]), 300
    draws = [torch.randn(2, 100, 2) for _ in range(tries)]
    found = [classifier_two_sample(x, y, classifier=classifier, seed=seed + i) for i, (x, y) in enumerate(draws)]
    p_values = torch.tensor([test.p_value for test in found])
    below = (p_values[:, None] <= levels).double().mean(0)
    assert (below <= levels + 4.27 * (levels * (1 - levels) / tries).sqrt()).all(), below
    right = sum(round(test.accuracy.value * 100) for test in found)
    assert_frequencies([right, 100 * tries - right], [0.5, 0.5])


def test_a_difference_in_scale_alone_is_detected(seed):
    """No linear classifier could."""
    found = classifier_two_sample(2 * torch.randn(2000, 2), torch.randn(2000, 2), seed=seed)
    assert found.p_value < 1e-9


def test_the_classifier_sees_as_many_rows_of_either(seed):
    found = classifier_two_sample(torch.randn(3000, 1), torch.randn(100, 1), seed=seed)
    assert abs(found.accuracy.value - 0.5) < 0.5
    assert round(found.accuracy.value * 100, 6) == round(found.accuracy.value * 100)
