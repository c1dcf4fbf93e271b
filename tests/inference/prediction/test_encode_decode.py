"""Codes: the exact posterior means of pPCA, and whatever else has latents."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story, fit
from pyrogen.distributions import InverseAutoregressiveFlow
from pyrogen.inference import adam, codes, decode, encode, posterior, reconstruct
from pyrogen.inference.prediction.latent_points import point_of
from pyrogen.models import (
    PCA,
    PPCA,
    VAE,
    Autoencoder,
    BayesianPPCA,
    ConditionalVAE,
    HierarchicalVAE,
    KMeans,
    MultivariateGaussian,
)
from tests.helpers.stories import Topics


@pytest.fixture
def solved():
    """pPCA at its maximum likelihood with the exact guide, and its data."""
    x = torch.randn(60, 3) @ torch.randn(3, 8) + 0.4 * torch.randn(60, 8) + 0.5
    return PPCA(8, 3).maximum_likelihood(x), x


def test_ppcas_codes_are_exact_posterior_means_and_its_data_their_means(solved):
    story, x = solved
    z = story.exact_posterior(x).mean.detach()
    torch.testing.assert_close(codes(story, x), z, rtol=0, atol=1e-5)
    again = (z @ story.weight.T + story.mean).detach()
    torch.testing.assert_close(decode(story, z), again, rtol=0, atol=1e-5)
    torch.testing.assert_close(reconstruct(story, x), again, rtol=0, atol=1e-5)


def test_rows_taken_some_at_a_time_give_the_same(solved, monkeypatch):
    story, x = solved
    whole = codes(story, x), decode(story, codes(story, x)), reconstruct(story, x)
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 2**11)
    pieces = codes(story, x), decode(story, codes(story, x)), reconstruct(story, x)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


def test_a_pair_and_a_story_that_was_not_trained():
    torch.manual_seed(1)
    story, x = Topics(), torch.poisson(torch.full((9, 10), 2.0))
    assert codes(story, x).shape == (9, 3)
    torch.testing.assert_close(reconstruct(story, x), decode(story, codes(story, x)))

    def model(x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(0.4 * x, pyro.param("scale", torch.tensor(0.4))))

    run = fit((model, guide), torch.randn(30), steps=1, optimizer=adam(0.0))
    x = torch.linspace(-1, 1, 5)
    torch.testing.assert_close(codes(run, x), 0.4 * x)
    torch.testing.assert_close(reconstruct(run, x), 0.8 * x)


def test_several_layers_give_a_code_each():
    story = HierarchicalVAE((1, 4, 4), latents=(4, 2), hidden=(8,))
    x = (torch.rand(6, 1, 4, 4) < 0.5).float()
    latents = codes(story, x)
    assert {name: tuple(code.shape) for name, code in latents.items()} == {"z1": (6, 4), "z2": (6, 2)}
    torch.testing.assert_close(latents["z2"], story.encode(x).mean.detach())
    torch.testing.assert_close(decode(story, latents), reconstruct(story, x))
    alone = decode(story, {"z2": latents["z2"]})
    by_hand = story.reverse_conditional(0, story.reverse_conditional(1, latents["z2"]).mean).mean
    torch.testing.assert_close(alone, by_hand.detach())


def test_a_flows_code_is_its_bases_image():
    story = VAE((1, 4, 4), 2, posterior=InverseAutoregressiveFlow(2, hidden=(8,)), hidden=(8,))
    x = (torch.rand(5, 1, 4, 4) < 0.5).float()
    code = codes(story, x)
    assert code.shape == (5, 2)
    torch.testing.assert_close(code, codes(story, x))
    assert (code - posterior(story, x, 500, seed=0)["z"].mean(0)).abs().max() < 0.5


def test_columns_that_are_conditioned_on():
    story = ConditionalVAE((1, 4, 4), 2, classes=3, hidden=(8,))
    data = {"x": (torch.rand(6, 1, 4, 4) < 0.5).float(), "y": torch.arange(6) % 3}
    torch.testing.assert_close(codes(story, data), story.encode(**data).mean.detach())
    torch.testing.assert_close(reconstruct(story, data), story.reconstruct(**data))
    torch.testing.assert_close(decode(story, codes(story, data), y=data["y"]), story.reconstruct(**data))
    styled = decode(story, codes(story, data), y=2)
    torch.testing.assert_close(styled, story.transfer(**data, to=2))


def test_baselines_answer_by_their_own_methods():
    x = torch.randn(30, 5)
    story = fit(PCA(5, 2), x).story
    torch.testing.assert_close(codes(story, x), story.encode(x).mean.detach())
    torch.testing.assert_close(decode(story, codes(story, x)), story.reconstruct(x).detach())
    torch.testing.assert_close(reconstruct(story, x), story.reconstruct(x).detach())


def test_latents_that_all_data_share_are_where_the_guide_has_them(seed):
    x = torch.randn(50, 2) @ torch.randn(2, 6) + 0.1 * torch.randn(50, 6)
    run = fit(BayesianPPCA(6, 2), x, steps=150, optimizer=adam(0.05), compile=False)
    again = decode(run, codes(run, x))
    assert (again - x).square().mean() < 0.3 * x.var()


def test_grey_levels_are_reconstructed_by_their_mean():
    class Levels(Story):
        def __init__(self):
            super().__init__()
            self.loc = torch.nn.Parameter(torch.zeros(()))

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(self.loc, 1.0))
                return pyro.sample("x", dist.Categorical(torch.stack([torch.sigmoid(z), torch.sigmoid(-z)], -1)), obs=x)

        def guide(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("z", dist.Normal(self.loc + x, 1.0))

    made = reconstruct(Levels(), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(made, torch.sigmoid(-torch.tensor([0.0, 1.0, 1.0])))


@pytest.mark.parametrize(
    ("story", "event"),
    [
        (PPCA(5, 2), 1),
        (PCA(5, 2), 1),
        (Autoencoder(5, 2, hidden=(4,)), 1),
        (KMeans(5, 3), 1),
        (VAE(5, 2, hidden=(4,)), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_encode_returns_a_distribution_for_every_story(story, event, seed):
    """Of batch shape (N,), whose point is the code; a code without a spread is a Delta."""
    x = torch.rand(30, 5).round()
    if "steps" in story.unsupported:
        fit(story, x)
    q = encode(story, x)
    assert q.batch_shape == (30,)
    assert q.event_dim == event
    torch.testing.assert_close(point_of(q).cpu(), codes(story, x))
    torch.testing.assert_close(decode(story, q), decode(story, codes(story, x)))
    if isinstance(story, PCA | Autoencoder | KMeans):
        assert isinstance(q, dist.Delta)
        assert torch.equal(q.sample(), q.mean)


def test_refusals():
    x = torch.randn(40, 3)
    gaussian = fit(MultivariateGaussian(3), x).story
    with pytest.raises(ValueError, match="MultivariateGaussian has no codes: its guide draws no continuous latent"):
        codes(gaussian, x)
    with pytest.raises(ValueError, match="MultivariateGaussian has no guide"):
        reconstruct(gaussian, x)
    story = PPCA(3, 2)
    with pytest.raises(ValueError, match=r"PPCA.model has no latent 'w' \(it has: z\)"):
        decode(story, {"w": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=r"PPCA.model has no column 'y'"):
        decode(story, torch.zeros(2, 2), y=1)
    with pytest.raises(ValueError, match="has several latents"):
        decode(HierarchicalVAE((1, 4, 4), latents=(4, 2), hidden=(8,)), torch.zeros(2, 2))
