"""Probabilities of grey levels: they sum to one, samples follow them, and what is no level is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyrogen.distributions import DiscretizedCategorical, DiscretizedLogistic
from pyrogen.distributions.discrete.discretized import LevelCategorical, LevelLogistic
from tests.helpers.statistics import assert_within

Build = Callable[[int], Distribution]


def logistics(levels: int) -> LevelLogistic:
    """From narrow to wide, from far outside to the middle."""
    loc = torch.tensor([-3.0, 0.0, 0.31, 0.5, 1.0, 40.0], dtype=torch.float64)
    return LevelLogistic(loc[:, None], torch.tensor([1e-4, 0.01, 0.2, 50.0], dtype=torch.float64), levels)


def categoricals(levels: int) -> LevelCategorical:
    return LevelCategorical(3 * torch.randn(4, 2, levels, dtype=torch.float64))


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("build", [logistics, categoricals])
def test_probabilities_sum_to_one_over_all_levels(build: Build, levels: int) -> None:
    distribution = build(levels)
    grid = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    total = distribution.log_prob(grid.reshape(-1, 1, 1)).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-10)


@pytest.mark.parametrize("build", [logistics, categoricals])
def test_samples_follow_the_probabilities(build: Build) -> None:
    distribution, n = build(5), 40_000
    draws = distribution.sample((n,))
    assert draws.shape == (n, *distribution.batch_shape)
    assert distribution.support.check(draws).all()
    grid = torch.arange(5, dtype=torch.float64) / 4
    p = distribution.log_prob(grid.reshape(5, 1, 1)).exp()
    for level in range(5):
        seen, error = (draws == grid[level]).double().mean(0), (p[level] * (1 - p[level]) / n).clamp(min=0).sqrt()
        assert_within(seen, p[level], error + 1e-9, what=f"frequency of level {level}")
    torch.testing.assert_close((p * grid.reshape(5, 1, 1)).sum(0), distribution.mean, rtol=0, atol=1e-10)


def test_the_logistic_keeps_its_digits_and_gradients_far_from_the_data() -> None:
    loc = torch.tensor([0.5, 30.0, -30.0], requires_grad=True)
    scores = LevelLogistic(loc, torch.tensor(0.01), 256).log_prob(torch.tensor(128 / 255))
    assert scores.isfinite().all()
    assert scores[1:].tolist() == pytest.approx(
        [-2948.47, -3048.86], rel=1e-3
    )  # linear in the distance, over the scale
    scores.sum().backward()
    assert loc.grad is not None
    assert loc.grad[1:].tolist() == pytest.approx([-100.0, 100.0], rel=1e-3)


def test_8_bit_images_in_float32_are_levels() -> None:
    x = torch.arange(256).to(torch.uint8).float() / 255
    for family in (DiscretizedLogistic(), DiscretizedCategorical()):
        family.check(x)
        outputs = torch.randn(*family.size((256,)))
        assert family(outputs, (256,)).log_prob(x).isfinite()


@pytest.mark.parametrize("family", [DiscretizedLogistic(17), DiscretizedCategorical(17)])
def test_refuses_what_is_no_level(family: DiscretizedCategorical) -> None:
    family.check(torch.arange(17) / 16)
    who = type(family).__name__
    with pytest.raises(
        ValueError, match=rf"{who} has as its support the 17 grey levels k/16, but 'x' has 3 other values"
    ):
        family.check(torch.tensor([0.5, 0.03, -1 / 16, 17 / 16, float("nan")]))
    with pytest.raises(ValueError, match=f"{who} needs at least 2 levels, got levels=1"):
        type(family)(1)


@pytest.mark.parametrize("build", [logistics, categoricals])
def test_validation_names_what_is_no_level(build: Build) -> None:
    distribution = build(5)
    assert isinstance(distribution.log_prob(torch.tensor(0.25)), Tensor)
    with pytest.raises(ValueError, match="grey levels k/4"):
        distribution.log_prob(torch.tensor(0.3))
