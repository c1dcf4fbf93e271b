"""Gaussian mixtures against scikit-learn's, and their limit, k-means."""

import itertools

import numpy as np
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from sklearn.mixture import GaussianMixture as Theirs
from torch import Tensor

from pyrogen import fit
from pyrogen.distributions import Diagonal, Full, Spherical
from pyrogen.inference import adam, codes, decode
from pyrogen.models import GaussianMixture
from tests.helpers.statistics import assert_within

KINDS = {"full": Full, "diag": Diagonal, "spherical": Spherical}
MEANS = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 1.0], [0.0, 4.0, -1.0]])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def planted(rows: int = 600) -> tuple[Tensor, Tensor]:
    """Three components of different shapes, which overlap a little, and which one each datum came from."""
    generator = torch.Generator().manual_seed(5)
    own = torch.multinomial(WEIGHTS, rows, replacement=True, generator=generator)
    mixing = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.7]])
    noise = torch.randn(rows, 3, generator=generator) @ mixing * torch.tensor([1.0, 0.6, 1.2])[own, None]
    return MEANS[own] + noise, own


def started(x: Tensor, kind: str, components: int = 3) -> GaussianMixture:
    story = GaussianMixture(x.shape[1], components, KINDS[kind](1e-3)).to(x.dtype)
    story.prepare({"x": x})
    return story


def theirs_at(story: GaussianMixture, kind: str) -> Theirs:
    """scikit-learn's mixture that starts where the story stands."""
    with torch.no_grad():
        component = story.component(torch.arange(story.components))
        if kind == "full":
            precisions = component.precision_matrix
        else:
            precisions = 1 / component.variance
            precisions = precisions[:, 0] if kind == "spherical" else precisions
        weights = story.logits.softmax(0).double().numpy()
    return Theirs(
        story.components,
        covariance_type=kind,
        tol=1e-9,
        reg_covar=1e-6,
        max_iter=2000,
        weights_init=weights / weights.sum(),
        means_init=story.means.detach().double().numpy(),
        precisions_init=precisions.double().numpy(),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_and_responsibilities_are_scikit_learns(kind: str) -> None:
    x = planted()[0].double()
    theirs = theirs_at(started(x, kind), kind).fit(x.numpy())
    story = started(x, kind)
    with torch.no_grad():
        story.logits.copy_(torch.as_tensor(theirs.weights_).log())
        story.means.copy_(torch.as_tensor(theirs.means_))
        if kind == "full":
            scale = torch.linalg.cholesky(torch.as_tensor(theirs.covariances_))
            deviation = scale.diagonal(dim1=-2, dim2=-1)
            raw = (deviation.square() - 1e-6).log().diag_embed() / 2
            story.raw_scales.copy_(scale.tril(-1) / deviation[..., None] + raw)
        else:
            raw = (torch.as_tensor(theirs.covariances_) - 1e-6).log() / 2
            story.raw_scales.copy_(raw.reshape(story.raw_scales.shape))
        np.testing.assert_allclose(story.log_prob(x).numpy(), theirs.score_samples(x.numpy()), atol=1e-9)
        np.testing.assert_allclose(story.responsibilities(x).numpy(), theirs.predict_proba(x.numpy()), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_training_meets_scikit_learns_likelihood_from_the_same_start(kind: str) -> None:
    x = planted()[0].double()
    story = started(x, kind)
    theirs = theirs_at(story, kind).fit(x.numpy()).score(x.numpy())
    before = float(story.log_prob(x).detach().mean())

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)

    run = fit(GaussianMixture(3, 3, KINDS[kind](1e-3)), {"x": x}, steps=300, batch_size=len(x), precision="float64",
              optimizer=adam(0.03), schedule=schedule)  # fmt: skip
    reached = float(run.story.log_prob(x).detach().mean())
    assert reached > before
    assert abs(reached - theirs) < 1e-6


def test_training_recovers_planted_components() -> None:
    x, own = planted(3000)
    story = fit(GaussianMixture(3, 3), {"x": x}, epochs=15, batch_size=100, optimizer=adam(0.01)).story
    order = min(itertools.permutations(range(3)), key=lambda p: (story.means[list(p)] - MEANS).square().sum())
    story.means.data, story.logits.data = story.means[list(order)], story.logits[list(order)]
    story.raw_scales.data = story.raw_scales[list(order)]
    torch.testing.assert_close(story.means.detach(), MEANS, rtol=0, atol=0.2)
    torch.testing.assert_close(story.logits.softmax(0).detach(), WEIGHTS, rtol=0, atol=0.05)
    assert (story.responsibilities(x).argmax(-1) == own).double().mean() > 0.95


def test_shrinking_variances_give_the_assignments_of_k_means() -> None:
    x = planted()[0].double()
    story = started(x, "spherical")
    distance = torch.cdist(x, story.means.detach())
    nearest = torch.nn.functional.one_hot(distance.argmin(-1), 3).double()
    gaps = []
    for raw in (0.0, -1.0, -2.0, -5.0):
        story.raw_scales.data.fill_(raw)
        gaps.append(float((story.responsibilities(x).detach() - nearest).abs().mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.01
    assert gaps[-1] < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_enumerated_elbo_is_log_prob(kind: str) -> None:
    x = planted(50)[0].double()
    story = started(x, kind)
    elbo = -TraceEnum_ELBO(max_plate_nesting=1).loss(story.model, story.guide, x, len(x))
    assert abs(elbo - float(story.log_prob(x).detach().sum())) < 1e-8


def test_samples_have_the_moments_of_the_mixture() -> None:
    x = planted()[0].double()
    story = started(x, "full")
    drawn = story.sample(100_000)
    mean = story.logits.softmax(0) @ story.means
    assert_within(drawn.mean(0), mean, drawn.std(0) / len(drawn) ** 0.5)
    components = story.component(torch.arange(3))
    square = components.covariance_matrix + story.means[..., None] * story.means[:, None]
    exact = (story.logits.softmax(0)[:, None, None] * square).sum(0)[0, 1]
    product = drawn[:, 0] * drawn[:, 1]
    assert_within(product.mean(), exact, product.std() / len(drawn) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_events_of_any_shape(kind: str) -> None:
    x = torch.randn(60, 4)
    flat, images = GaussianMixture(4, 2, KINDS[kind]()), GaussianMixture((1, 2, 2), 2, KINDS[kind]())
    images.load_state_dict(flat.state_dict())
    torch.testing.assert_close(images.log_prob(x.reshape(6, 10, 1, 2, 2)), flat.log_prob(x).reshape(6, 10))
    assert images.responsibilities(x.reshape(6, 10, 1, 2, 2)).shape == (6, 10, 2)
    assert images.sample(5).shape == (5, 1, 2, 2)


def test_codes_are_responsibilities_and_are_decoded_as_means_by_them() -> None:
    x = planted(50)[0]
    story = started(x, "full")
    torch.testing.assert_close(codes(story, x), story.responsibilities(x).detach())
    expected = (story.responsibilities(x)[..., None] * story.means).sum(1).detach()
    torch.testing.assert_close(story.reconstruct(x), expected)
    torch.testing.assert_close(decode(story, codes(story, x)), expected)


def test_fewer_data_than_components_are_refused() -> None:
    with pytest.raises(ValueError, match="3 clusters need as many data, and there are 2"):
        fit(GaussianMixture(2, 3), {"x": torch.randn(2, 2)})
