"""Factor analysis against the full Gaussian and scikit-learn's."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from sklearn.decomposition import FactorAnalysis as Theirs
from torch import Tensor

from pyrogen import fit
from pyrogen.inference import adam
from pyrogen.models import PPCA, FactorAnalysis
from tests.helpers.statistics import assert_within

FEATURES, LATENT, ROWS = 8, 2, 400


def data() -> Tensor:
    """Planted factors, noise from 0.2 to 2."""
    generator = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    noise = torch.linspace(0.2, 2.0, FEATURES, dtype=torch.float64)
    return randn(ROWS, LATENT) @ randn(LATENT, FEATURES) + noise * randn(ROWS, FEATURES) + 3 * randn(FEATURES)


def random_story() -> FactorAnalysis:
    story = FactorAnalysis(FEATURES, LATENT).double()
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return story


def marginal(story: FactorAnalysis) -> dist.MultivariateNormal:
    covariance = story.weight @ story.weight.T + story.scale().square().diag()
    return dist.MultivariateNormal(story.mean, covariance_matrix=covariance)


def test_log_prob_is_the_full_gaussian() -> None:
    story, x = random_story(), data()
    torch.testing.assert_close(story.log_prob(x), marginal(story).log_prob(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(story.log_prob(x.reshape(4, 100, -1)), story.log_prob(x).reshape(4, 100))


def test_log_prob_in_float32_keeps_its_digits_for_small_noise() -> None:
    story = random_story().requires_grad_(False).float()
    story.raw_scale.fill_(-8.0)
    x = torch.randn(50, LATENT) @ story.weight.T + story.mean + story.scale() * torch.randn(50, FEATURES)
    found = story.log_prob(x)
    assert (found - story.double().log_prob(x.double())).abs().max() < 0.1


def test_the_guide_is_the_posterior_so_that_every_weight_is_log_prob() -> None:
    story, x = random_story(), data()
    for _ in range(3):
        guide = poutine.trace(story.guide).get_trace(x, ROWS)
        model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, ROWS)
        guide.compute_log_prob()
        model.compute_log_prob()
        weights = model.nodes["z"]["log_prob"] + model.nodes["x"]["log_prob"] - guide.nodes["z"]["log_prob"]
        torch.testing.assert_close(weights, story.log_prob(x), rtol=0, atol=1e-9)


def test_training_meets_scikit_learns_likelihood() -> None:
    x = data()
    theirs = Theirs(LATENT, tol=1e-10, max_iter=20_000).fit(x.numpy())

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)

    options = {"steps": 300, "batch_size": ROWS, "precision": "float64", "schedule": schedule}
    story = fit(FactorAnalysis(FEATURES, LATENT), {"x": x}, optimizer=adam(0.1), **options).story
    reached = story.log_prob(x).detach()
    assert abs(float(reached.mean()) - theirs.score(x.numpy())) < 1e-6
    np.testing.assert_allclose(story.scale().square().detach().numpy(), theirs.noise_variance_, rtol=1e-3)
    np.testing.assert_allclose(reached.numpy(), theirs.score_samples(x.numpy()), atol=1e-3)
    assert reached.mean() > PPCA(FEATURES, LATENT).double().maximum_likelihood(x).log_prob(x).mean() + 0.5


def test_samples_have_the_marginal_moments() -> None:
    story = random_story()
    x, exact = story.sample(100_000), marginal(story)
    assert_within(x.mean(0), exact.mean, x.std(0) / len(x) ** 0.5)
    products = (x - exact.mean)[:, :2].prod(-1)
    assert_within(products.mean(), exact.covariance_matrix[0, 1], products.std() / len(x) ** 0.5)
    assert_within(story.log_prob(x).mean(), -exact.entropy(), (FEATURES / 2 / len(x)) ** 0.5)


def test_prepare_starts_with_the_variances_of_the_data() -> None:
    x = data()
    story = FactorAnalysis(FEATURES, LATENT).double()
    story.prepare({"x": x})
    variances = marginal(story).covariance_matrix.diagonal()
    torch.testing.assert_close(variances, x.var(0, correction=0), rtol=1e-6, atol=1e-6)
    for constant in (torch.ones(10, FEATURES), x.float()):
        story = FactorAnalysis(FEATURES, FEATURES)
        story.prepare({"x": constant})
        assert story.log_prob(constant).isfinite().all()


def test_shapes_and_doors() -> None:
    flat, images = random_story(), FactorAnalysis((1, 2, 4), LATENT).double()
    images.load_state_dict(flat.state_dict())
    x = data()
    torch.testing.assert_close(images.log_prob(x.reshape(-1, 1, 2, 4)), flat.log_prob(x))
    assert images.sample(5).shape == images.reconstruct(x[:5].reshape(-1, 1, 2, 4)).shape == (5, 1, 2, 4)
    with pytest.raises(ValueError, match="positive floor, got floor=0"):
        FactorAnalysis(8, 2, floor=0.0)
    with pytest.raises(ValueError, match="FactorAnalysis takes at most as many latents as features, got latent=9 of 8"):
        FactorAnalysis(8, 9)
