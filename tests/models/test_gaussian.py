"""One Gaussian against its closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from pyrogen import fit
from pyrogen.data import load
from pyrogen.distributions import Diagonal, Full, Spherical
from pyrogen.models import MultivariateGaussian
from tests.helpers.statistics import assert_within

KINDS = [Full, Diagonal, Spherical]
ROWS, FEATURES = 200, 5


def data() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64)
    return torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64) @ mixing + 3


def fitted(x: Tensor, covariance: object, event_shape: object = FEATURES) -> MultivariateGaussian:
    story = MultivariateGaussian(event_shape, covariance).to(x.dtype)
    story.prepare({"x": x})
    return story


def test_full_is_scipys_gaussian_with_mean_and_covariance_of_the_data() -> None:
    x = data()
    exact = multivariate_normal(x.numpy().mean(0), np.cov(x.numpy().T, bias=True) + 1e-8 * np.eye(FEATURES))
    found = fitted(x, Full()).log_prob(x).detach().numpy()
    np.testing.assert_allclose(found, exact.logpdf(x.numpy()), rtol=0, atol=1e-9)


def test_the_likelihood_reached_is_the_entropys_closed_form() -> None:
    x = data()
    covariance = torch.cov(x.T, correction=0)
    variance = covariance.diagonal()
    log_dets = {
        Full: torch.logdet(covariance),
        Diagonal: variance.log().sum(),
        Spherical: FEATURES * variance.mean().log(),
    }
    for kind in KINDS:
        exact = -(FEATURES * np.log(2 * np.pi * np.e) + log_dets[kind]) / 2
        torch.testing.assert_close(fitted(x, kind(0.0)).log_prob(x).mean(), exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_maximum(kind: type) -> None:
    x = data()
    story = fitted(x, kind(0.0))
    best = story.log_prob(x).mean()
    for gradient in torch.autograd.grad(best, list(story.parameters())):
        assert gradient.abs().max() < 1e-10
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert story.log_prob(x).mean() < best


def test_raw_digits_whose_covariance_is_singular_get_the_density_of_their_floor() -> None:
    """Three pixels are constant, so the plain maximum does not exist."""
    x = load("digits").train["x"].double()
    flat = x.flatten(1).numpy()
    story = fitted(x, Full(0.01), (1, 8, 8))
    exact = multivariate_normal(flat.mean(0), np.cov(flat.T, bias=True) + 1e-4 * np.eye(64)).logpdf(flat)
    np.testing.assert_allclose(story.log_prob(x).detach().numpy(), exact, rtol=1e-4)
    with pytest.raises(ValueError, match="the likelihood has no maximum"):
        fit(MultivariateGaussian((1, 8, 8), Full(0.0)), {"x": x})


def test_samples_have_its_moments() -> None:
    story = fitted(data(), Full())
    x, exact = story.sample(100_000), story.covariance(story.mean, story.raw_scale)
    assert_within(x.mean(0), exact.mean, x.std(0) / len(x) ** 0.5)
    products = (x - exact.mean)[:, :2].prod(-1)
    assert_within(products.mean(), exact.covariance_matrix[0, 1], products.std() / len(x) ** 0.5)
    assert_within(story.log_prob(x).mean(), -exact.entropy(), (FEATURES / 2 / len(x)) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_events_of_any_shape_and_leading_dimensions(kind: type) -> None:
    x = data()[:, :4]
    flat, images = fitted(x, kind(), 4), fitted(x.reshape(-1, 1, 2, 2), kind(), (1, 2, 2))
    torch.testing.assert_close(images.log_prob(x.reshape(4, 50, 1, 2, 2)), flat.log_prob(x).reshape(4, 50))
    assert images.sample(3).shape == (3, 1, 2, 2)


def test_it_takes_no_step_and_says_why() -> None:
    run = fit(MultivariateGaussian(FEATURES), {"x": data()}, epochs=3)
    assert run.history == []
    torch.testing.assert_close(run.story.mean.double(), data().mean(0), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"takes a column 'x' of shape \(n, 4\), got \(200, 5\)"):
        fit(MultivariateGaussian(4), {"x": data()})
