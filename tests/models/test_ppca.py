"""Probabilistic PCA against closed forms, NumPy's and scikit-learn's."""

import inspect

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from sklearn.decomposition import PCA
from torch import Tensor

from pyrogen.models import PPCA
from tests.helpers.statistics import assert_within

FEATURES, LATENT, ROWS = 8, 3, 200
GUIDES = ["full", "meanfield"]


def data(rows: int = ROWS, features: int = FEATURES, latent: int = LATENT) -> Tensor:
    generator = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return randn(rows, latent) @ randn(latent, features) + 0.5 * randn(rows, features) + 3 * randn(features)


def random_story(guide: str = "full", features: object = FEATURES) -> PPCA:
    """A model in float64 at no special point."""
    story = PPCA(features, LATENT, guide=guide).double()
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
        story.centre.normal_()
    return story


def marginal(story: PPCA) -> dist.MultivariateNormal:
    covariance = story.weight @ story.weight.T + torch.exp(2 * story.log_sigma) * torch.eye(story.features).double()
    return dist.MultivariateNormal(story.mean, covariance_matrix=covariance)


def log_weights(story: PPCA, x: Tensor) -> Tensor:
    """log p(x, z) - log q(z | x) of one draw for each datum, through Pyro's traces."""
    guide = poutine.trace(story.guide).get_trace(x, len(x))
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, len(x))
    guide.compute_log_prob()
    model.compute_log_prob()
    return model.nodes["z"]["log_prob"] + model.nodes["x"]["log_prob"] - guide.nodes["z"]["log_prob"]


# The model as it stands.


def test_log_prob_is_the_full_gaussian() -> None:
    story, x = random_story(), data()
    torch.testing.assert_close(story.log_prob(x), marginal(story).log_prob(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(story.log_prob(x[0]), story.log_prob(x)[0])
    torch.testing.assert_close(story.log_prob(x.reshape(4, 50, -1)), story.log_prob(x).reshape(4, 50))


def test_log_prob_in_float32_keeps_its_digits_for_a_small_sigma() -> None:
    """Where Woodbury's formula, as PyTorch's low-rank Gaussian has it, subtracts numbers of 1e8."""
    story = random_story().requires_grad_(False).float()
    story.log_sigma.fill_(-9.0)
    noise = story.log_sigma.exp() * torch.randn(50, FEATURES)
    x = torch.randn(50, LATENT) @ story.weight.T + story.mean + noise
    found = story.log_prob(x)
    low_rank = dist.LowRankMultivariateNormal(
        story.mean, story.weight, (2 * story.log_sigma).exp().expand(FEATURES)
    ).log_prob(x)
    exact = story.double().log_prob(x.double())
    assert (found - exact).abs().max() < 0.1
    assert (low_rank - exact).abs().max() > 1


def test_exact_posterior_is_the_conditional_of_the_joint() -> None:
    """Bayes: log p(z) + log p(x | z) - log p(z | x) is log p(x) for every z."""
    story, x = random_story(), data()
    posterior = story.exact_posterior(x)
    for z in (posterior.sample(), torch.zeros(ROWS, LATENT).double()):
        mean = z @ story.weight.T + story.mean
        joint = dist.Normal(0.0, 1.0).log_prob(z).sum(-1) + dist.Normal(mean, story.log_sigma.exp()).log_prob(x).sum(-1)
        torch.testing.assert_close(joint - posterior.log_prob(z), story.log_prob(x), rtol=0, atol=1e-9)


def test_samples_have_the_marginal_moments() -> None:
    story = random_story()
    x = story.sample(100_000)
    exact = marginal(story)
    assert_within(x.mean(0), exact.mean, x.std(0) / len(x) ** 0.5)
    products = (x - exact.mean)[:, :2].prod(-1)
    assert_within(products.mean(), exact.covariance_matrix[0, 1], products.std() / len(x) ** 0.5)
    assert_within(story.log_prob(x).mean(), -exact.entropy(), (FEATURES / 2 / len(x)) ** 0.5)


# The guide.


def test_log_weights_of_the_exact_guide_are_log_prob() -> None:
    story, x = random_story().solve_guide(), data()
    for _ in range(3):
        torch.testing.assert_close(log_weights(story, x), story.log_prob(x), rtol=0, atol=1e-9)


def test_solved_full_guide_is_the_posterior() -> None:
    story, x = random_story().solve_guide(), data()
    q, p = story.encode(x), story.exact_posterior(x)
    torch.testing.assert_close(q.mean, p.mean, rtol=0, atol=1e-10)
    torch.testing.assert_close(q.covariance_matrix, p.covariance_matrix, rtol=0, atol=1e-10)
    assert story.guide_gap(x).abs().max() < 1e-10


def test_solved_meanfield_guide_has_the_gap_of_the_formula() -> None:
    story, x = random_story("meanfield").solve_guide(), data()
    gap = story.meanfield_gap()
    assert gap > 1e-3
    torch.testing.assert_close(story.guide_gap(x), gap.expand(ROWS), rtol=0, atol=1e-10)
    moment = (story.weight.T @ story.weight + torch.exp(2 * story.log_sigma) * torch.eye(LATENT)).detach().numpy()
    by_hand = (np.log(np.diag(moment)).sum() - np.linalg.slogdet(moment)[1]) / 2
    np.testing.assert_allclose(gap.item(), by_hand, atol=1e-12)


def test_meanfield_gap_is_what_the_elbo_loses() -> None:
    story, x = random_story("meanfield").solve_guide(), data().repeat(200, 1)
    weights = log_weights(story, x).detach()
    lost = story.log_prob(x).detach() - weights
    assert_within(lost.mean(), story.meanfield_gap(), lost.std() / len(lost) ** 0.5)


@pytest.mark.parametrize("guide", GUIDES)
def test_solved_guide_is_where_the_elbo_is_stationary(guide: str) -> None:
    story, x = random_story(guide).solve_guide(), data()
    parameters = [story.encoder.weight, story.encoder.bias, story.raw_scale]
    for gradient in torch.autograd.grad(story.guide_gap(x).sum(), parameters):
        assert gradient.abs().max() < 1e-8
    gap = story.guide_gap(x).mean()
    for parameter in parameters:
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn_like(parameter))
        assert story.guide_gap(x).mean() > gap
        story.solve_guide()


def test_gap_of_any_guide_is_the_formula_of_two_gaussians() -> None:
    for guide in GUIDES:
        story, x = random_story(guide), data(5)
        q, p = story.encode(x), story.exact_posterior(x)
        b = q.covariance_matrix if guide == "full" else q.variance.diag_embed()
        s, shift = p.covariance_matrix, (p.mean - q.mean)[..., None]
        trace = torch.linalg.solve(s, b).diagonal(dim1=-2, dim2=-1).sum(-1)
        square = (shift.mT @ torch.linalg.solve(s, shift))[:, 0, 0]
        by_hand = (trace + square - LATENT + torch.logdet(s) - torch.logdet(b)) / 2
        torch.testing.assert_close(story.guide_gap(x), by_hand, rtol=0, atol=1e-9)


# Maximum likelihood.


def test_maximum_likelihood_is_tipping_and_bishop() -> None:
    x = data()
    story = PPCA(FEATURES, LATENT).double().maximum_likelihood(x)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    variance = values[:-LATENT].mean()
    np.testing.assert_allclose(story.log_sigma.exp().item() ** 2, variance, atol=1e-10)
    np.testing.assert_allclose(story.mean.detach().numpy(), x.numpy().mean(0), atol=1e-10)
    top = vectors[:, -LATENT:] * (values[-LATENT:] - variance)
    product = (story.weight @ story.weight.T).detach().numpy()
    np.testing.assert_allclose(product, top @ vectors[:, -LATENT:].T, atol=1e-10)


def test_maximum_likelihood_scores_as_scikit_learn_does() -> None:
    """scikit-learn divides by N - 1 instead of N: its C is ours times N / (N - 1)."""
    x = data()
    story = PPCA(FEATURES, LATENT).double().maximum_likelihood(x)
    with torch.no_grad():
        factor = ROWS / (ROWS - 1)
        story.weight.mul_(factor**0.5)
        story.log_sigma.add_(np.log(factor) / 2)
    scores = PCA(LATENT).fit(x.numpy()).score_samples(x.numpy())
    np.testing.assert_allclose(story.log_prob(x).detach().numpy(), scores, atol=1e-9)


def test_maximum_likelihood_is_stationary_and_the_maximum() -> None:
    x = data()
    story = PPCA(FEATURES, LATENT).double().maximum_likelihood(x)
    parameters = [story.weight, story.mean, story.log_sigma]
    for gradient in torch.autograd.grad(story.log_prob(x).sum(), parameters):
        assert gradient.abs().max() < 1e-8
    best = story.log_prob(x).mean()
    for _ in range(10):
        story.maximum_likelihood(x)
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(0.05 * torch.randn_like(parameter))
        assert story.log_prob(x).mean() < best


@pytest.mark.parametrize("guide", GUIDES)
def test_maximum_likelihood_solves_the_guide_and_is_in_place(guide: str) -> None:
    x, story = data(), PPCA(FEATURES, LATENT, guide=guide).double()
    before = dict(story.named_parameters())
    assert story.maximum_likelihood(x) is story
    assert all(parameter is before[name] for name, parameter in story.named_parameters())
    # The columns of W are orthogonal at this rotation, so the mean-field guide is exact too.
    torch.testing.assert_close(log_weights(story, x), story.log_prob(x), rtol=0, atol=1e-9)


def test_maximum_likelihood_does_not_depend_on_the_start_and_fixes_signs() -> None:
    x = data()
    first, second = (PPCA(FEATURES, LATENT).double().maximum_likelihood(x) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert (first.weight.gather(0, first.weight.abs().argmax(0, keepdim=True)) > 0).all()


def test_maximum_likelihood_in_float32_is_good_to_float32() -> None:
    x = data()
    exact = PPCA(FEATURES, LATENT).double().maximum_likelihood(x).log_prob(x)
    story = PPCA(FEATURES, LATENT).maximum_likelihood(x)
    assert story.weight.dtype == torch.float32
    torch.testing.assert_close(story.log_prob(x.float()).double(), exact, rtol=1e-4, atol=1e-3)


def test_fewer_data_than_features() -> None:
    x = data(6)
    story = PPCA(FEATURES, 2).double().maximum_likelihood(x)
    torch.testing.assert_close(story.log_prob(x), marginal(story).log_prob(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "latent"),
    [(data(), FEATURES), (data(4), 3), (data() * 0, 2), (data(1), 2)],
    ids=["no_features_left", "few_data", "constant", "one_datum"],
)
def test_refuses_a_likelihood_without_a_maximum(x: Tensor, latent: int) -> None:
    with pytest.raises(ValueError, match=f"no maximum: {latent} latents explain .*Take fewer latents, or add noise"):
        PPCA(FEATURES, latent).double().maximum_likelihood(x)


# Start, shapes, doors.


@pytest.mark.parametrize("guide", GUIDES)
def test_prepare_starts_from_the_data(guide: str) -> None:
    x, story = data(), PPCA(FEATURES, LATENT, guide=guide).double()
    before = story.log_prob(x).mean()
    story.prepare({"x": x})
    torch.testing.assert_close(story.mean.data, x.mean(0))
    torch.testing.assert_close(story.centre, x.mean(0))
    covariance = marginal(story).covariance_matrix
    torch.testing.assert_close(covariance.trace(), x.var(0, correction=0).sum())
    assert story.log_prob(x).mean() > before
    gap = story.meanfield_gap() * (guide == "meanfield")
    torch.testing.assert_close(story.guide_gap(x), gap.expand(ROWS), rtol=0, atol=1e-9)


def test_prepare_leaves_maximum_likelihood_alone() -> None:
    x = data()
    story = PPCA(FEATURES, LATENT).double().maximum_likelihood(x)
    before = story.log_prob(x)
    story.prepare({"x": x + 1})
    assert torch.equal(story.log_prob(x), before)


def test_prepare_bears_constant_data() -> None:
    story, x = PPCA(FEATURES, LATENT), torch.ones(10, FEATURES)
    story.prepare({"x": x})
    assert story.log_prob(x).isfinite().all()


def test_events_of_any_shape() -> None:
    flat = random_story()
    story = random_story(features=(1, 2, 4))
    story.load_state_dict(flat.state_dict())
    x = data()
    images = x.reshape(-1, 1, 2, 4)
    assert torch.equal(story.log_prob(images), flat.log_prob(x))
    assert story.sample(5).shape == (5, 1, 2, 4)
    pyro.set_rng_seed(1)
    weights = log_weights(flat, x)
    pyro.set_rng_seed(1)
    torch.testing.assert_close(log_weights(story, images), weights)
    assert PPCA([1, 2, 4], LATENT).maximum_likelihood(images).event_shape == (1, 2, 4)


@pytest.mark.parametrize("guide", GUIDES)
def test_particles_vectorized_or_not_estimate_one_elbo(guide: str) -> None:
    story, x = random_story(guide), data(20)
    exact = (story.log_prob(x) - story.guide_gap(x)).sum()
    for vectorize, particles in ((True, 20), (False, 2)):
        elbo = Trace_ELBO(num_particles=particles, vectorize_particles=vectorize, max_plate_nesting=1)
        losses = torch.stack([elbo.differentiable_loss(story.model, story.guide, x, 20) for _ in range(30)]).detach()
        # 5.1 of 30 values' standard errors are as rare as 4.27 of a normal variable's.
        assert_within(-losses.mean(), exact, losses.std() / 30**0.5, sigmas=5.1)


@pytest.mark.free_store
@pytest.mark.parametrize("guide", GUIDES)
def test_every_parameter_learns_under_stock_svi(guide: str) -> None:
    story, x = random_story(guide), data(20)
    before = {name: p.detach().clone() for name, p in story.named_parameters()}
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    svi.step(x, len(x))
    for name, parameter in story.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("guide", GUIDES)
def test_traces_on_meta(guide: str) -> None:
    story, x = PPCA((1, 2, 4), LATENT, guide=guide).to("meta"), torch.zeros(5, 1, 2, 4, device="meta")
    with pyro.validation_enabled(False):
        assert story.model(None, 5).shape == (5, 1, 2, 4)
        assert log_weights(story, x).shape == (5,)


def test_contract() -> None:
    assert list(inspect.signature(PPCA).parameters) == ["features", "latent", "guide"]
    assert PPCA(8, 3).arguments == {"features": 8, "latent": 3, "guide": "full"}
    for method in (PPCA.model, PPCA.guide):
        assert list(inspect.signature(method).parameters) == ["self", "x", "n"]
    trace = poutine.trace(PPCA(8, 3).model).get_trace(None, 5)
    assert [(f.name, f.dim, f.size) for f in trace.nodes["x"]["cond_indep_stack"]] == [("data", -1, 5)]


def test_refuses_bad_arguments_and_columns() -> None:
    with pytest.raises(ValueError, match="guide is 'full' or 'meanfield', got guide='diagonal'"):
        PPCA(8, 3, guide="diagonal")
    with pytest.raises(ValueError, match=r"a shape is a positive whole number .*got 'eight'"):
        PPCA("eight", 3)
    story = PPCA(64, 3)
    story.check({"x": torch.zeros(5, 64)})
    with pytest.raises(ValueError, match=r"^PPCA takes .* \(n, 64\), got \(5, 1, 8, 8\): .*features=\(1, 8, 8\)$"):
        story.check({"x": torch.zeros(5, 1, 8, 8)})
    with pytest.raises(ValueError, match=r"PPCA takes .* \(n, 64\)"):
        story.maximum_likelihood(torch.zeros(5, 3))
