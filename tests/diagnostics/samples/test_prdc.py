import math

import pytest
import torch

from pyrogen.diagnostics import density_coverage, memorization, nearest_neighbours, precision_recall
from pyrogen.diagnostics.core.estimates import Estimate
from tests.helpers.statistics import assert_within

CENTRES = 100 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def modes(n, which=(0, 1, 2, 3)):
    """Far apart unit normals, n points each, one after the other."""
    return torch.cat([CENTRES[mode] + torch.randn(n, 2) for mode in which])


def test_identical_sets_score_one(monkeypatch):
    """Whatever rounding does to the distances of equal points, here in ten blocks of matrix products."""
    monkeypatch.setattr("pyrogen.diagnostics.samples.prdc.MEBIBYTES", 0.04)
    x = torch.randn(100, 80).repeat(5, 1)  # each five times: balls without a radius
    y = x[torch.randperm(500)]
    assert [share.value for share in precision_recall(y, x)] == [1, 1]
    assert density_coverage(y, x)[1].value == 1


def test_a_missing_mode_costs_recall_and_no_precision():
    """What is counted in one mode does not depend on the others: parts add up."""
    data, samples = modes(200), modes(200)
    (precision, recall), (_, last) = (precision_recall(part, data) for part in (samples[:600], samples[600:]))
    whole = precision_recall(samples, data)
    assert precision.value == pytest.approx(precision_recall(samples[:600], data[:600])[0].value)
    assert precision.value > 0.9
    assert recall.value == pytest.approx(whole[1].value - last.value)
    assert 0.65 < recall.value <= 0.75


def test_a_mode_of_its_own_costs_precision_and_no_recall():
    samples, data = modes(200), modes(200, which=(0, 1, 2))
    precision, recall = precision_recall(samples, data)
    assert (recall, precision) == precision_recall(data, samples)
    assert precision.value == pytest.approx(0.75 * precision_recall(samples[:600], data)[0].value)
    assert recall.value == precision_recall(samples[:600], data)[1].value > 0.9


def test_a_missing_mode_costs_coverage_and_no_density():
    data, samples = modes(200), modes(200)
    (density, coverage), (_, last) = (density_coverage(part, data) for part in (samples[:600], samples[600:]))
    assert density.value == pytest.approx(density_coverage(samples[:600], data[:600])[0].value)
    assert coverage.value == pytest.approx(density_coverage(samples, data)[1].value - last.value)
    assert 0.65 < coverage.value <= 0.75


def test_samples_that_stray_cost_density_and_no_coverage():
    data, samples = modes(200), modes(200)
    density, coverage = density_coverage(torch.cat([samples, samples + 50]), data)
    whole = density_coverage(samples, data)
    assert density.value == pytest.approx(whole[0].value / 2)
    assert coverage == whole[1]
    assert coverage.value > 0.9


@pytest.mark.parametrize(("n", "total", "neighbours"), [(100, 100, 5), (40, 100, 3), (150, 50, 1)])
def test_samples_of_the_data_s_own_distribution_have_the_expected_density_and_coverage(n, total, neighbours):
    draws = [density_coverage(torch.randn(n, 2), torch.randn(total, 2), neighbours) for _ in range(100)]
    density, coverage = (Estimate.mean(torch.tensor([draw[i].value for draw in draws])) for i in (0, 1))
    missed = math.prod((total - j) / (total + n - j) for j in range(1, neighbours + 1))
    assert_within(density.value, 1.0, density.error, what="density")
    assert_within(coverage.value, 1 - missed, coverage.error, what="coverage")


def test_a_generator_that_copies_is_flagged():
    training, held_out = torch.randn(1000, 5), torch.randn(300, 5)
    copies = training[:300] + 0.01 * torch.randn(300, 5)
    found = memorization(copies, held_out, training)
    assert found.nearer.value > 0.99
    assert found.p_value < 1e-12
    half = torch.cat([training[:150], torch.randn(150, 5)])
    found = memorization(half, held_out, training)
    assert_within(found.nearer.value, 0.75, found.nearer.error)
    assert found.p_value < 1e-12


def test_a_generator_that_draws_afresh_is_not_flagged():
    found = [memorization(torch.randn(80, 3), torch.randn(120, 3), torch.randn(500, 3)) for _ in range(100)]
    values = torch.tensor([test.nearer.value for test in found])
    assert_within(values.mean(), 0.5, values.std() / math.sqrt(100))
    for level in (0.05, 0.5):
        below = sum(test.p_value < level for test in found) / 100
        assert_within(below, level, math.sqrt(level * (1 - level) / 100), what=f"p < {level}")
    squares = torch.tensor([test.nearer.error for test in found]).square()
    assert_within(squares.mean().sqrt(), values.std(), values.std() / math.sqrt(2 * 99), what="error")


def test_a_generator_that_strays_is_further_from_the_training_data():
    found = memorization(3 * torch.randn(200, 3), torch.randn(200, 3), torch.randn(500, 3))
    assert found.nearer.value < 0.3
    assert found.p_value > 0.999


def test_ties_count_half():
    found = memorization(torch.ones(4, 1), torch.ones(6, 1), torch.zeros(3, 1))
    assert found.nearer.value == 0.5


def test_nearest_neighbours_are_those_of_a_search_by_hand():
    points, others = torch.randn(30, 4, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)
    distances, places = nearest_neighbours(points, others, 3)
    by_hand = (points[:, None] - others).norm(dim=-1).sort(1)
    assert torch.equal(places, by_hand.indices[:, :3])
    assert torch.allclose(distances, by_hand.values[:, :3])


def test_far_from_the_origin_no_digits_are_lost():
    points, others = torch.randn(30, 4, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)
    moved = nearest_neighbours(points + 1e7, others + 1e7, 3)
    assert torch.allclose(moved[0], nearest_neighbours(points, others, 3)[0], atol=1e-7)


def test_copies_of_data_lie_on_the_edges_of_their_neighbours_balls():
    """Each of n points lies in its own ball and in those of which it is the k-th neighbour or a nearer one."""
    x = torch.randn(400, 64)
    density, coverage = density_coverage(x[torch.randperm(400)], x, 5)
    assert density.value == pytest.approx((5 + 1) / 5, abs=1e-12)
    assert coverage.value == 1


def test_too_few_points_are_refused():
    x = torch.randn(5, 2)
    with pytest.raises(ValueError, match="samples: at least 6 rows are needed, got 5"):
        density_coverage(x, torch.randn(9, 2))
    with pytest.raises(ValueError, match="6 nearest neighbours are asked for among 5 points"):
        nearest_neighbours(x, x, 6)
