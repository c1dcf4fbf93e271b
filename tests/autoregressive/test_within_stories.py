"""The same networks within other stories: the likelihood of a VAE, the prior of a VQ-VAE, and tiles in order."""

import itertools

import pytest
import torch

from pyrogen import fit, load
from pyrogen.distributions import AutoregressiveLikelihood, DiscretizedCategorical
from pyrogen.inference import active_units, log_likelihood
from pyrogen.models import VAE, VQVAE
from pyrogen.nn import CausalTransformer, GatedPixelCNN, PixelCNN, TileDecoder, TileEncoder, Tokens

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


def test_it_trains_says_whether_its_latents_are_used_and_comes_back_from_its_folder(tmp_path):
    # Halves of the image agree: neighbours tell little of it, and one latent nearly all.
    torch.manual_seed(1)
    x = (torch.rand(600, 1, 1, 1) < 0.5).float().expand(600, *EVENT).clone()
    x[torch.rand(x.shape) < 0.05] = 1.0
    run = fit(pixel_vae(), x, epochs=3, out=tmp_path / "run", progress=False)
    found = active_units(run, x)
    assert {name: variance.shape for name, variance in found.variance.items()} == {"z": (2,)}
    again = load(tmp_path / "run")
    assert torch.equal(log_likelihood(again, x[:20], 10, seed=3).value, log_likelihood(run, x[:20], 10, seed=3).value)
    assert again.story.reconstruct(x[:4]).shape == (4, *EVENT)
    assert set(again.story.sample(5).unique().tolist()) <= {0.0, 1.0}


def test_what_cannot_be_told_of_z_is_refused():
    with pytest.raises(ValueError, match="takes no context, and would not be told of z"):
        AutoregressiveLikelihood(PixelCNN(EVENT, width=4))
    with pytest.raises(ValueError, match="build it with outputs=3"):
        AutoregressiveLikelihood(PixelCNN(EVENT, width=4, context=2), DiscretizedCategorical(3))


@pytest.mark.parametrize("prior", ["pixelcnn", "transformer", GatedPixelCNN((2, 2), outputs=3, width=4, symbols=3)])
def test_the_prior_of_codes_sums_to_one(prior):
    story = VQVAE((1, 4, 4), (2, 2), codes=3, features=2, hidden=(8,), prior=prior)
    codes = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    with torch.no_grad():
        assert float(story.symbols().log_prob(codes).double().exp().sum()) == pytest.approx(1, abs=1e-5)
    assert story.codes(story.sample(3)).shape == (3, 2, 2)


def test_each_tile_has_a_vector_of_its_own():
    encoder, decoder = TileEncoder((1, 4, 6), 3, tile=2, hidden=(8,)), TileDecoder(3, (1, 4, 6), tile=2, hidden=(8,))
    x = torch.rand(5, 1, 4, 6)
    changed = x.clone()
    changed[:, :, 2:, 4:] += 1
    with torch.no_grad():
        moved = (encoder(changed) - encoder(x)).abs().amax((0, 3)) > 0
        z = encoder(x)
        one = z.clone()
        one[:, 1, 2] += 1
        redrawn = (decoder(one) - decoder(z)).abs().amax((0, 1)) > 0
    assert moved.tolist() == [[False, False, False], [False, False, True]]
    assert redrawn.nonzero().amin(0).tolist() == [2, 4]
    assert int(redrawn.sum()) == 4
    tokens = Tokens((2, 4, 6), patch=2)
    x = torch.rand(5, 2, 4, 6)
    assert torch.equal(tokens.join(tokens(x)), x)


def test_a_prior_of_tiles_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="cannot cut 4 by 6"):
        TileEncoder((1, 4, 6), 3, tile=4)
    with pytest.raises(ValueError, match="heads must divide width"):
        CausalTransformer(4, symbols=3, width=9, heads=2)
