"""The VAE against the linear-Gaussian case, hand-written joints, and its own contract."""

import inspect
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyrogen.distributions import (
    Bernoulli,
    DiagonalNormal,
    DiscretizedCategorical,
    DiscretizedLogistic,
    Family,
    FullNormal,
    Gaussian,
    InverseAutoregressiveFlow,
    NormalMixture,
    SharedScaleGaussian,
    StandardNormal,
    VampPrior,
)
from pyrogen.models import PPCA, VAE
from pyrogen.nn import ConvDecoder, ConvEncoder, Dense, RecurrentEncoder, TransformerEncoder
from tests.helpers.correlated_posterior import assert_tighter_than_meanfield
from tests.helpers.statistics import assert_within

EVENT = (1, 6, 5)


def conv(likelihood: Family) -> VAE:
    """Networks of plain PyTorch, which take exactly one leading dimension."""
    channels = likelihood.size(EVENT)[0]
    encoder = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(90, 6))
    decoder = nn.Sequential(
        nn.Linear(3, 60), nn.Unflatten(1, (2, 6, 5)), nn.Tanh(), nn.Conv2d(2, channels, 3, padding=1)
    )
    return VAE(EVENT, 3, likelihood=likelihood, encoder=encoder, decoder=decoder).eval()


STORIES: dict[str, Callable[[], VAE]] = {
    "dense": lambda: VAE(EVENT, 3, hidden=(16, 8)),
    "gaussian": lambda: VAE(EVENT, 3, likelihood=Gaussian(), hidden=(16,)),
    "fixed_scale": lambda: VAE(EVENT, 3, likelihood=Gaussian(scale=0.2), hidden=(16,)),
    "conv": lambda: VAE(EVENT, 3, encoder=ConvEncoder(EVENT, 6, (4,)), decoder=ConvDecoder(3, EVENT, (4,))),
    "plain_networks": lambda: conv(Bernoulli()),
    "plain_networks_gaussian": lambda: conv(Gaussian()),
    "spatial_latent": lambda: VAE(EVENT, (2, 3, 2), hidden=(16,)),
    "one_dimension": lambda: VAE(30, 2, likelihood=Gaussian(), hidden=()),
    "scale_for_each_pixel": lambda: VAE(EVENT, 3, likelihood=SharedScaleGaussian(EVENT), hidden=(16,)),
    "logistic": lambda: VAE(EVENT, 3, likelihood=DiscretizedLogistic(), hidden=(16,)),
    "categorical": lambda: VAE(EVENT, 3, likelihood=DiscretizedCategorical(5), hidden=(16,)),
    "full": lambda: VAE(EVENT, 3, posterior=FullNormal(), hidden=(16,)),
    "unit_scale": lambda: VAE(EVENT, 3, posterior=DiagonalNormal(scale=1.0), hidden=(16,)),
    "flow": lambda: VAE(EVENT, 3, posterior=InverseAutoregressiveFlow(3, context=5), hidden=(16,)),
    "mixture": lambda: VAE(EVENT, 3, prior=NormalMixture(3, 4), hidden=(16,)),
    "vamp": lambda: VAE(EVENT, 3, prior=VampPrior(EVENT, 4), hidden=(16,)),
    "recurrent": lambda: VAE(EVENT, 3, encoder=RecurrentEncoder(EVENT, 6, width=8), hidden=(16,)),
    "transformer": lambda: VAE(EVENT, 3, encoder=TransformerEncoder(EVENT, 6, width=8), hidden=(16,)),
}


@pytest.fixture(params=STORIES.values(), ids=STORIES)
def story(request: pytest.FixtureRequest) -> VAE:
    return request.param()


def binary(story: VAE, n: int) -> Tensor:
    return torch.bernoulli(torch.full((n, *story.event_shape), 0.4))


def traces(story: VAE, x: Tensor) -> tuple[poutine.Trace, poutine.Trace]:
    guide = poutine.trace(story.guide).get_trace(x, len(x))
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, len(x))
    guide.compute_log_prob()
    model.compute_log_prob()
    return model, guide


def test_linear_gaussian_vae_is_ppca() -> None:
    """With linear networks of the right weights every log weight is log p(x) of pPCA with diagonal W'W, exactly."""
    oracle = PPCA(6, 2).double()
    x = torch.randn(50, 2).double() @ torch.randn(2, 6).double() + 0.3 * torch.randn(50, 6) + 1
    oracle.maximum_likelihood(x)
    sigma = oracle.log_sigma.exp().item()
    vae = VAE(6, 2, likelihood=Gaussian(scale=sigma), posterior=DiagonalNormal(floor=1e-12), hidden=()).double()
    posterior = oracle.exact_posterior(x)
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(oracle.weight)
        vae.decoder.layers[0].bias.copy_(oracle.mean)
        vae.encoder.layers[0].weight.copy_(torch.cat([oracle.encoder.weight, torch.zeros(2, 6)]))
        shift = oracle.encoder.bias - oracle.encoder.weight @ oracle.centre
        vae.encoder.layers[0].bias.copy_(torch.cat([shift, posterior.stddev[0].log()]))
    model, guide = traces(vae, x)
    weights = model.nodes["z"]["log_prob"] + model.nodes["x"]["log_prob"] - guide.nodes["z"]["log_prob"]
    torch.testing.assert_close(weights, oracle.log_prob(x), rtol=0, atol=1e-9)


def test_joint_is_the_one_by_hand() -> None:
    story = VAE(EVENT, 3, hidden=(16,)).double()
    x = binary(story, 7).double()
    model, guide = traces(story, x)
    z = guide.nodes["z"]["value"]
    mean, raw = story.encoder(x).chunk(2, -1)
    q = dist.Normal(mean, 1e-6 + torch.where(raw < 0, raw.exp(), 1 + raw)).log_prob(z).sum(-1)
    logits = story.decoder(z)
    likelihood = -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
    for found, by_hand in (
        (guide.nodes["z"]["log_prob"], q),
        (model.nodes["z"]["log_prob"], dist.Normal(0.0, 1.0).log_prob(z).sum(-1)),
        (model.nodes["x"]["log_prob"], likelihood),
    ):
        torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-10)


def test_leading_dimensions_fold(story: VAE) -> None:
    x, point = binary(story, 12), story.posterior.point
    z = point(story.encode(x))
    folded = x.reshape(2, 2, 3, *story.event_shape)
    torch.testing.assert_close(point(story.encode(folded)), z.reshape(2, 2, 3, *story.latent_shape))
    torch.testing.assert_close(point(story.encode(x[0])), z[0])
    means = story.decode(z).mean
    torch.testing.assert_close(story.decode(z.reshape(4, 3, *story.latent_shape)).mean.flatten(0, 1), means)
    torch.testing.assert_close(story.reconstruct(x), means.detach())
    assert not story.reconstruct(x).requires_grad


def test_particles_vectorized_or_not_estimate_one_elbo(story: VAE) -> None:
    x = binary(story, 5)
    losses = []
    for vectorize, particles in ((True, 10), (False, 2)):
        elbo = Trace_ELBO(num_particles=particles, vectorize_particles=vectorize, max_plate_nesting=1)
        found = [elbo.differentiable_loss(story.model, story.guide, x, 5) for _ in range(30)]
        losses.append(torch.stack(found).detach())
    # 5.1 of 30 values' standard errors are as rare as 4.27 of a normal variable's.
    error = (losses[0].var() + losses[1].var()).div(30).sqrt()
    assert_within(losses[0].mean(), losses[1].mean(), error, sigmas=5.1)


def test_samples(story: VAE) -> None:
    x = story.sample(4)
    assert x.shape == (4, *story.event_shape)
    assert x.isfinite().all()
    if isinstance(story.likelihood, Bernoulli):
        assert set(x.unique().tolist()) <= {0.0, 1.0}
    assert story.double().sample(4).dtype == torch.float64


@pytest.mark.free_store
def test_every_parameter_learns_under_stock_svi(story: VAE) -> None:
    before = {name: p.detach().clone() for name, p in story.named_parameters()}
    svi = SVI(story.model, story.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    svi.step(binary(story, 16), 16)
    for name, parameter in story.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_traces_on_meta(story: VAE) -> None:
    story = story.to("meta")
    x = torch.zeros(5, *story.event_shape, device="meta")
    with pyro.validation_enabled(False):
        assert story.model(None, 5).shape == x.shape
        with pyro.plate("particles", 2, dim=-2):
            model, guide = traces(story, x)
    assert model.nodes["x"]["log_prob"].shape == guide.nodes["z"]["log_prob"].shape == (2, 5)


def test_contract(story: VAE) -> None:
    for method in (VAE.model, VAE.guide):
        assert list(inspect.signature(method).parameters) == ["self", "x", "n"]
    model, guide = traces(story, binary(story, 4))
    for site in (model.nodes["z"], model.nodes["x"], guide.nodes["z"]):
        assert [(f.name, f.dim, f.size) for f in site["cond_indep_stack"]] == [("data", -1, 4)]
        assert site["fn"].event_shape == (story.event_shape if site["name"] == "x" else story.latent_shape)
    assert all(p.is_contiguous() for p in story.parameters())
    assert type(story)(**story.arguments).event_shape == story.event_shape


@pytest.mark.parametrize("posterior", ["full", "flow"])
def test_a_guide_of_correlated_latents_is_tighter_than_the_best_meanfield_one(posterior: str) -> None:
    """On pPCA's exact model with a strongly correlated posterior, whose best mean-field gap is known."""
    family = FullNormal() if posterior == "full" else InverseAutoregressiveFlow(2, hidden=(32,), context=4)
    assert_tighter_than_meanfield(family, rows=500, steps=600)


def test_a_vamp_prior_is_built_of_the_storys_own_encoder() -> None:
    story = VAE(EVENT, 3, prior=VampPrior(EVENT, 4), hidden=(16,))
    x = binary(story, 8)
    story.prepare({"x": x})
    model, guide = traces(story, x)
    z, q = guide.nodes["z"]["value"], story.encode(story.prior.inputs)
    by_hand = torch.stack([q.log_prob(row) for row in z]).logsumexp(1) - torch.tensor(4.0).log()
    torch.testing.assert_close(model.nodes["z"]["log_prob"], by_hand)
    assert all(any(torch.equal(u, row) for row in x) for u in story.prior.inputs)


def test_default_networks_are_dense_and_mirror_each_other() -> None:
    story = VAE(EVENT, 3, likelihood=Gaussian(), hidden=[16, 8])
    assert isinstance(story.encoder, Dense)
    assert isinstance(story.decoder, Dense)
    assert (story.encoder.hidden, story.decoder.hidden) == ((16, 8), (8, 16))
    assert (story.encoder.out_shape, story.decoder.out_shape) == ((6,), (2, 6, 5))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"StandardNormal\(\(4,\)\) is not for latents of shape \(3,\)"):
        VAE(EVENT, 3, prior=StandardNormal(4))
    with pytest.raises(ValueError, match="VampPrior needs log q"):
        VAE(EVENT, 3, prior=VampPrior(EVENT, 4), posterior=InverseAutoregressiveFlow(3))
    story = VAE((1, 8, 8), 2)
    story.check({"x": torch.ones(5, 1, 8, 8)})
    with pytest.raises(ValueError, match=r"^VAE takes .* \(n, 1, 8, 8\), got \(5, 64\): .*event_shape=\(64,\)$"):
        story.check({"x": torch.ones(5, 64)})
    with pytest.raises(ValueError, match=r"Bernoulli has support \{0, 1\}, .*: pass binarize="):
        story.check({"x": torch.full((5, 1, 8, 8), 0.5)})
    with pytest.raises(ValueError, match=r"^VAE asks for 'x', and the data has no such column \(columns: y\)$"):
        story.check({"y": torch.ones(5)})
    VAE((1, 8, 8), 2, likelihood=Gaussian()).check({"x": torch.full((5, 1, 8, 8), 0.5)})
    with pytest.raises(ValueError, match=r"DiagonalNormal over \(2,\) .*got \(5, 3\)"):
        VAE(64, 2, encoder=nn.Linear(64, 3)).encode(torch.zeros(5, 64))
    with pytest.raises(ValueError, match=r"Linear takes tensors of shape \(\.\.\., 64\), got \(5, 32\)"):
        VAE(64, 2, encoder=nn.Linear(64, 4)).encode(torch.zeros(5, 32))
