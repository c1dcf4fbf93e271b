"""Codes: the exact posterior means of pPCA, and whatever else has latents."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story, fit
from pyrogen.distributions import InverseAutoregressiveFlow
from pyrogen.inference import adam, decode, encode, posterior, reconstruct
from pyrogen.models import PCA, PPCA, VAE, BayesianPPCA, ConditionalVAE, HierarchicalVAE, MultivariateGaussian
from tests.helpers.stories import Topics


@pytest.fixture
def solved():
    """pPCA at its maximum likelihood with the exact guide, and its data."""
    x = torch.randn(60, 3) @ torch.randn(3, 8) + 0.4 * torch.randn(60, 8) + 0.5
    return PPCA(8, 3).maximum_likelihood(x), x


def test_ppcas_codes_are_exact_posterior_means_and_its_data_their_means(solved):
    story, x = solved
    z = story.exact_posterior(x).mean.detach()
    torch.testing.assert_close(encode(story, x), z, rtol=0, atol=1e-5)
    again = (z @ story.weight.T + story.mean).detach()
    torch.testing.assert_close(decode(story, z), again, rtol=0, atol=1e-5)
    torch.testing.assert_close(reconstruct(story, x), again, rtol=0, atol=1e-5)


def test_pieces_and_order_change_nothing(solved, monkeypatch):
    story, x = solved
    whole = encode(story, x), decode(story, encode(story, x)), reconstruct(story, x)
    monkeypatch.setattr("pyrogen.inference.likelihood.memory_budget.ELEMENTS", 2**11)
    pieces = encode(story, x), decode(story, encode(story, x)), reconstruct(story, x)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


def test_a_pair_and_a_story_that_was_not_trained():
    torch.manual_seed(1)
    story, x = Topics(), torch.poisson(torch.full((9, 10), 2.0))
    assert encode(story, x).shape == (9, 3)
    torch.testing.assert_close(reconstruct(story, x), decode(story, encode(story, x)))

    def model(x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(0.4 * x, pyro.param("scale", torch.tensor(0.4))))

    run = fit((model, guide), torch.randn(30), steps=1, optimizer=adam(0.0))
    x = torch.linspace(-1, 1, 5)
    torch.testing.assert_close(encode(run, x), 0.4 * x)
    torch.testing.assert_close(reconstruct(run, x), 0.8 * x)


def test_several_layers_give_a_code_each():
    story = HierarchicalVAE((1, 4, 4), latents=(4, 2), hidden=(8,))
    x = (torch.rand(6, 1, 4, 4) < 0.5).float()
    codes = encode(story, x)
    assert {name: tuple(code.shape) for name, code in codes.items()} == {"z1": (6, 4), "z2": (6, 2)}
    torch.testing.assert_close(codes["z2"], story.encode(x).mean.detach())
    torch.testing.assert_close(decode(story, codes), reconstruct(story, x))
    alone = decode(story, {"z2": codes["z2"]})
    by_hand = story.below(0, story.below(1, codes["z2"]).mean).mean
    torch.testing.assert_close(alone, by_hand.detach())


def test_a_flows_code_is_its_bases_image():
    story = VAE((1, 4, 4), 2, posterior=InverseAutoregressiveFlow(2, hidden=(8,)), hidden=(8,))
    x = (torch.rand(5, 1, 4, 4) < 0.5).float()
    code = encode(story, x)
    assert code.shape == (5, 2)
    torch.testing.assert_close(code, encode(story, x))
    assert (code - posterior(story, x, 500, seed=0)["z"].mean(0)).abs().max() < 0.5


def test_columns_that_are_conditioned_on():
    story = ConditionalVAE((1, 4, 4), 2, classes=3, hidden=(8,))
    data = {"x": (torch.rand(6, 1, 4, 4) < 0.5).float(), "y": torch.arange(6) % 3}
    torch.testing.assert_close(encode(story, data), story.encode(**data).mean.detach())
    torch.testing.assert_close(reconstruct(story, data), story.reconstruct(**data))
    torch.testing.assert_close(decode(story, encode(story, data), y=data["y"]), story.reconstruct(**data))
    styled = decode(story, encode(story, data), y=2)
    torch.testing.assert_close(styled, story.transfer(**data, to=2))


def test_baselines_answer_by_their_own_methods():
    x = torch.randn(30, 5)
    story = fit(PCA(5, 2), x).story
    torch.testing.assert_close(encode(story, x), story.encode(x).detach())
    torch.testing.assert_close(decode(story, encode(story, x)), story.reconstruct(x).detach())
    torch.testing.assert_close(reconstruct(story, x), story.reconstruct(x).detach())


def test_latents_that_all_data_share_are_where_the_guide_has_them(seed):
    x = torch.randn(50, 2) @ torch.randn(2, 6) + 0.1 * torch.randn(50, 6)
    run = fit(BayesianPPCA(6, 2), x, steps=150, optimizer=adam(0.05), compile=False)
    again = decode(run, encode(run, x))
    assert (again - x).square().mean() < 0.3 * x.var()


def test_grey_levels_are_told_by_their_mean():
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


def test_refusals():
    x = torch.randn(40, 3)
    gaussian = fit(MultivariateGaussian(3), x).story
    with pytest.raises(ValueError, match="MultivariateGaussian has no codes: its guide draws no continuous latent"):
        encode(gaussian, x)
    with pytest.raises(ValueError, match="MultivariateGaussian has no guide"):
        reconstruct(gaussian, x)
    story = PPCA(3, 2)
    with pytest.raises(ValueError, match=r"PPCA.model has no latent 'w' \(it has: z\)"):
        decode(story, {"w": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=r"PPCA.model has no column 'y'"):
        decode(story, torch.zeros(2, 2), y=1)
    with pytest.raises(ValueError, match="has several latents"):
        decode(HierarchicalVAE((1, 4, 4), latents=(4, 2), hidden=(8,)), torch.zeros(2, 2))
