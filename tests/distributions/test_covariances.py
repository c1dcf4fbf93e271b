"""Parametrizations of a Gaussian's covariance, against NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrogen.distributions import Diagonal, Full, Spherical, reshape_events

KINDS = [Full, Diagonal, Spherical]


def points(rows: int = 50, features: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    return torch.randn(rows, features, generator=generator, dtype=torch.float64) @ mixing + 7


def expected(kind: type, x: Tensor, floor: float) -> Tensor:
    covariance = np.cov(x.numpy().T, bias=True)
    if kind is not Full:
        covariance = np.diag(np.diag(covariance))
    if kind is Spherical:
        covariance = np.eye(len(covariance)) * np.diag(covariance).mean()
    return torch.as_tensor(covariance) + floor**2 * torch.eye(x.shape[1]).double()


def covariance_of(distribution: object, features: int) -> Tensor:
    full = getattr(distribution, "covariance_matrix", None)
    return distribution.variance.expand(features).diag() if full is None else full


@pytest.mark.parametrize("floor", [0.0, 1e-4, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_estimate_is_the_maximum_likelihood_covariance_plus_the_floor(kind: type, floor: float) -> None:
    x, covariance = points(), kind(floor)
    raw = covariance.estimate(x)
    assert raw.shape == covariance.size(4)
    estimate = covariance_of(covariance(torch.zeros(4).double(), raw), 4)
    torch.testing.assert_close(estimate, expected(kind, x, floor), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_features_have_the_floor_for_a_deviation(kind: type) -> None:
    x = points()
    x[:, 2] = 0.3
    estimate = covariance_of(kind(0.01)(x[0], kind(0.01).estimate(x)), 4)
    torch.testing.assert_close(estimate, expected(kind, x, 0.01), rtol=1e-5, atol=1e-9)
    fewer = covariance_of(kind(0.01)(x[0], kind(0.01).estimate(x[:2])), 4)
    torch.testing.assert_close(fewer, expected(kind, x[:2], 0.01), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", [Full, Diagonal])
def test_without_a_floor_a_singular_covariance_is_refused(kind: type) -> None:
    x = points()
    x[:, 2] = 0.3
    with pytest.raises(ValueError, match=rf"no maximum: .*\(dequantize\) them, or use {kind.__name__}\(floor=1e-4\)"):
        kind(0.0).estimate(x)
    with pytest.raises(ValueError, match=r"no maximum"):
        Full(0.0).estimate(points(rows=3))
    with pytest.raises(ValueError, match=f"{kind.__name__} needs a floor of at least 0, got floor=-1"):
        kind(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_density_exceeds_the_bound_that_the_floor_sets(kind: type) -> None:
    covariance, mean = kind(0.1), torch.zeros(3)
    for size in (-30.0, 0.0, 3.0):
        raw = torch.full(covariance.size(3), size)
        bound = -3 / 2 * np.log(2 * np.pi * 0.1**2)
        assert float(covariance(mean, raw).log_prob(mean)) <= bound + 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_units_change_the_scales_alone(kind: type) -> None:
    """Other units add log of the factor to the raw scales, and leave the rest."""
    x = points()
    difference = kind(0.0).estimate(1000 * x) - kind(0.0).estimate(x)
    wanted = np.log(1000) * (torch.eye(4) if kind is Full else torch.ones(kind().size(4))).double()
    torch.testing.assert_close(difference, wanted, rtol=0, atol=1e-9)


def test_reshaped_events_have_the_density_of_their_elements() -> None:
    x = points()
    vectors = Full()(x.mean(0), Full().estimate(x))
    images = reshape_events(vectors, (1, 2, 2))
    assert images.event_shape == (1, 2, 2)
    assert torch.equal(images.log_prob(x.reshape(-1, 1, 2, 2)), vectors.log_prob(x))
    assert reshape_events(vectors, (4,)) is vectors
    assert reshape_events(Diagonal()(torch.zeros(1), torch.zeros(1)), ()).sample((3,)).shape == (3,)
