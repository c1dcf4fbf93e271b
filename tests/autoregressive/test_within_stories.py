"""Autoregressive networks within other stories: the likelihood of a VAE, and the prior of a VQ-VAE."""

import itertools

import pytest
import torch

from pyrogen import fit, load
from pyrogen.distributions import AutoregressiveLikelihood, DiscretizedCategorical
from pyrogen.inference import active_units, log_likelihood
from pyrogen.models import VAE, VQVAE
from pyrogen.nn import GatedPixelCNN, PixelCNN

EVENT = (1, 3, 3)


def pixel_vae(context=(2, 3, 3)):
    torch.manual_seed(0)
    network = PixelCNN(EVENT, width=4, blocks=1, kernel=3, context=context)
    return VAE(EVENT, latent=2, hidden=(16,), likelihood=AutoregressiveLikelihood(network))


def every():
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).reshape(-1, *EVENT)


@pytest.mark.parametrize("context", [(2, 3, 3), 5])
def test_given_z_the_probabilities_of_all_images_sum_to_one_and_depend_on_z(context):
    story = pixel_vae(context)
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        z = torch.randn(3, 2)
        log_prob = story.decode(z).log_prob(every()[:, None])
    assert log_prob.shape == (512, 3)
    assert torch.allclose(log_prob.double().exp().sum(0), torch.ones(3, dtype=torch.float64), atol=1e-5)
    assert float((log_prob[:, 0] - log_prob[:, 1]).abs().max()) > 0.01


def test_training_raises_the_elbo_and_the_run_is_loaded_from_its_directory(tmp_path):
    # All pixels of an image agree but for noise.
    torch.manual_seed(1)
    x = (torch.rand(600, 1, 1, 1) < 0.5).float().expand(600, *EVENT).clone()
    x[torch.rand(x.shape) < 0.05] = 1.0
    run = fit(pixel_vae(), x, epochs=3, out=tmp_path / "run", progress=False)
    assert run.history[-1]["train_elbo"] > run.history[0]["train_elbo"] + 0.1
    assert {name: variance.shape for name, variance in active_units(run, x).variance.items()} == {"z": (2,)}
    loaded = load(tmp_path / "run")
    assert torch.equal(log_likelihood(loaded, x[:20], 10, seed=3).value, log_likelihood(run, x[:20], 10, seed=3).value)
    assert loaded.story.reconstruct(x[:4]).shape == (4, *EVENT)
    assert set(loaded.story.sample(5).unique().tolist()) <= {0.0, 1.0}


def test_a_network_without_a_context_or_with_other_outputs_is_refused():
    with pytest.raises(ValueError, match=r"takes no context, so that p\(x \| z\) would not depend on z"):
        AutoregressiveLikelihood(PixelCNN(EVENT, width=4))
    with pytest.raises(ValueError, match="build it with outputs=3"):
        AutoregressiveLikelihood(PixelCNN(EVENT, width=4, context=2), DiscretizedCategorical(3))


@pytest.mark.parametrize("prior", ["pixelcnn", "transformer", GatedPixelCNN((2, 2), outputs=3, width=4, symbols=3)])
def test_the_prior_of_codes_sums_to_one(prior):
    story = VQVAE((1, 4, 4), (2, 2), codes=3, features=2, hidden=(8,), prior=prior)
    codes = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    with torch.no_grad():
        assert float(story.code_prior().log_prob(codes).double().exp().sum()) == pytest.approx(1, abs=1e-5)
    assert story.codes(story.sample(3)).shape == (3, 2, 2)
