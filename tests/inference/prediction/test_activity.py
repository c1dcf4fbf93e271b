"""Active units against pPCA's closed form, with dead units planted."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story, fit
from pyrogen.inference import active_units, codes
from pyrogen.models import PCA, PPCA, Diffusion, GaussianMixture, HierarchicalVAE
from tests.helpers.stories import Location, Topics


@pytest.fixture
def solved():
    """A pPCA of which one latent is used strongly, one weakly and one not at all, and a thousand data of its own."""
    weight = torch.zeros(8, 3)
    weight[:, 0], weight[:, 1] = torch.randn(8), 0.02 * torch.randn(8)
    story = PPCA(8, 3)
    with torch.no_grad():
        story.weight.copy_(weight)
    story.solve_guide()
    return story, story.sample(1000)


def test_variances_are_one_minus_the_posteriors(solved):
    story, x = solved
    found = active_units(story, x)
    exact = 1 - story.exact_posterior(x).covariance_matrix[0].diagonal().detach()
    variance = found.variance["z"]
    # A variance over 1000 data has a relative error of (2/999)^1/2.
    assert abs(variance[0] / exact[0] - 1) < 4.27 * (2 / 999) ** 0.5
    assert exact[1] < 0.01
    assert variance[2] == exact[2] == 0
    assert (found.active, str(found)) == ({"z": 1}, "1 of 3")
    assert active_units(story, x, threshold=0.0).active == {"z": 2}
    assert str(active_units(story, x[:500], rows=100)) == "1 of 3"


class Flow(Story):
    """One latent that tells data apart and one that does not, by a guide without means in closed form."""

    def __init__(self):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(2))

    def model(self, x, n):
        with pyro.plate("rows", n):
            z = pyro.sample("z", dist.Normal(self.loc, torch.ones(2)).to_event(1))
            return pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(self, x, n):
        with pyro.plate("rows", n):
            base = dist.Normal(torch.stack([0.5 * x, 0 * x], -1), 1.0).to_event(1)
            pyro.sample(
                "z", dist.TransformedDistribution(base, [dist.transforms.AffineTransform(1.0, 1.0, event_dim=1)])
            )


def test_a_guide_without_means_is_asked_by_draws():
    x = torch.randn(1000) * 2**0.5
    variance = active_units(Flow(), x).variance["z"]
    # Each of the two means of 16 draws has a variance of 1/16 about its own.
    error = (1 / 16) / 1000**0.5
    assert abs(variance[0] - 0.25 * x.var()) < 4.27 * (error + (2 * 0.5 / 16 / 1000) ** 0.5)
    assert abs(variance[1]) < 4.27 * error < 0.01


def test_a_hierarchy_is_told_layer_by_layer():
    story = HierarchicalVAE((1, 4, 4), latents=(4, 2), hidden=(8,))
    found = active_units(story, (torch.rand(200, 1, 4, 4) < 0.5).float())
    assert {name: tuple(variance.shape) for name, variance in found.variance.items()} == {"z1": (4,), "z2": (2,)}
    assert " of 4 in z1, " in str(found)
    assert str(found).endswith(" of 2 in z2")


def test_stories_without_codes_have_nothing_to_tell():
    x = torch.randn(40, 3)
    for story, data in ((GaussianMixture(3, 2), x), (PCA(3, 2), x), (fit(Location(), x[:, 0], steps=1).story, x[:, 0])):
        assert active_units(story, data).variance == {}


def test_it_leaves_no_trace():
    story, x = Topics(), torch.poisson(torch.full((50, 10), 2.0))
    before = torch.get_rng_state()
    first, second = active_units(story, x), active_units(story, x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.variance["z"], second.variance["z"])
    assert story.training


def test_noise_that_no_program_is_scored_on_is_no_latent():
    x = torch.randn(50, 2)
    one_level, chain = Diffusion(2, num_timesteps=9), Diffusion(2, num_timesteps=9, timesteps_per_datum=None)
    assert active_units(one_level, x).variance == {}
    assert len(active_units(chain, x).variance) == 9
    with pytest.raises(ValueError, match="Diffusion has no codes"):
        codes(one_level, x)
