"""PCA against scikit-learn's, and as the limit of probabilistic PCA."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Theirs
from torch import Tensor

from pyrogen import fit
from pyrogen.data import load
from pyrogen.models import PCA, PPCA


def data() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    return torch.randn(200, 6, generator=generator, dtype=torch.float64) @ mixing + 5


def fitted(x: Tensor, latent: int, event_shape: object = 6) -> PCA:
    story = PCA(event_shape, latent).to(x.dtype)
    story.prepare({"x": x})
    return story


def test_axes_codes_and_reconstructions_are_scikit_learns() -> None:
    x = data()
    story, theirs = fitted(x, 3), Theirs(3).fit(x.numpy())
    axes = theirs.components_.T * np.sign((theirs.components_.T * story.axes.detach().numpy()).sum(0))
    np.testing.assert_allclose(story.axes.detach().numpy(), axes, atol=1e-10)
    codes = (x.numpy() - theirs.mean_) @ axes
    np.testing.assert_allclose(story.encode(x).mean.detach().numpy(), codes, atol=1e-9)
    again = theirs.inverse_transform(theirs.transform(x.numpy()))
    np.testing.assert_allclose(story.reconstruct(x).numpy(), again, atol=1e-9)
    assert (story.axes.gather(0, story.axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_digits_with_constant_pixels() -> None:
    x = load("digits").train["x"]
    story = fit(PCA((1, 8, 8), 64), {"x": x}).story
    assert story.encode(x).mean.shape == (len(x), 64)
    torch.testing.assert_close(story.reconstruct(x), x, rtol=0, atol=1e-5)


def test_probabilistic_pca_projects_as_pca_does_as_sigma_tends_to_0() -> None:
    """The difference of W E[z | x] + mu from PCA's projection falls with sigma^2, as M^-1 W'W = I - sigma^2 M^-1."""
    x, latent = data(), 2
    pca = fitted(x, latent)
    story = PPCA(6, latent).double().maximum_likelihood(x)
    differences = []
    for sigma in (1e-1, 1e-2, 1e-3):
        with torch.no_grad():
            story.log_sigma.fill_(math.log(sigma))
            posterior = story.exact_posterior(x)
            projected = posterior.mean @ story.weight.T + story.mean
        differences.append(float((projected - pca.reconstruct(x)).abs().max()))
        assert posterior.covariance_matrix.abs().max() < sigma**2
    np.testing.assert_allclose(np.divide(differences[:-1], differences[1:]), 100, rtol=0.02)
    assert differences[-1] < 1e-5
    # The latents themselves tend to PCA's codes, each in units of its column's length.
    codes = pca.encode(x).mean / story.weight.norm(dim=0)
    torch.testing.assert_close(posterior.mean, codes, rtol=0, atol=1e-5)


def test_shapes_and_refusals() -> None:
    x = data()
    story, flat = fitted(x.reshape(-1, 1, 2, 3), 2, (1, 2, 3)), fitted(x, 2)
    assert torch.equal(story.encode(x.reshape(4, 50, 1, 2, 3)).mean, flat.encode(x).mean.reshape(4, 50, 2))
    assert story.reconstruct(x.reshape(-1, 1, 2, 3)).shape == (200, 1, 2, 3)
    with pytest.raises(ValueError, match="PCA takes at most as many latents as features, got latent=7 of 6"):
        PCA(6, 7)
    with pytest.raises(ValueError, match=r"PCA has no sample: .* defines no distribution over x; see ppca"):
        flat.sample(3)
    with pytest.raises(
        ValueError, match=r"PCA has no density: PCA projects x onto a plane and defines no density there"
    ):
        flat.model(x, len(x))
