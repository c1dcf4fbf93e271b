"""GANs as stories: Pyro programs that sample, on the scale of their data, of the labels asked for."""

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive
from torch import nn

from pyrogen import fit
from pyrogen.adversarial import GAN, VAEGAN, ConditionalGAN, NonSaturating
from pyrogen.distributions import FlowPrior, NormalMixture, VampPrior
from pyrogen.inference import adam, codes, decode, posterior, prior, reconstruct
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch

SMALL = {"hidden": (8,)}


def test_a_generator_is_a_pyro_program():
    story = GAN(2, latent=3, **SMALL)
    trace = poutine.trace(story.model).get_trace(None, 5)
    assert trace.nodes["z"]["value"].shape == (5, 3)
    assert torch.equal(trace.nodes["x"]["value"], story.decode(trace.nodes["z"]["value"]))
    z = torch.zeros(5, 3)
    held = poutine.condition(story.model, data={"z": z})(None, 5)
    assert torch.equal(held, story.decode(z))
    drawn = Predictive(story.model, num_samples=7)(None, 5)
    assert drawn["x"].shape == (7, 5, 2)


def test_codes_of_a_gan():
    story = fit(GAN(2, latent=3, **SMALL), torch.randn(20, 2), epochs=1, progress=False).story
    z = prior(story, {"x": torch.zeros(4, 2)}, 1)["z"][0]
    assert torch.equal(decode(story, z), story.decode(z).detach())
    with pytest.raises(ValueError, match="GAN has no guide: a generator does not infer the latents of a datum"):
        posterior(story, {"x": torch.zeros(4, 2)})


def test_codes_of_a_vae_gan():
    x = torch.randn(20, 2)
    story = fit(VAEGAN(2, latent=3, **SMALL), x, epochs=1, progress=False).story
    assert posterior(story, {"x": x}, 5)["z"].shape == (5, 20, 3)
    assert torch.allclose(reconstruct(story, x), decode(story, codes(story, x)))


def test_unbounded_data_have_any_scale():
    """The same run on 1000 x + 5 makes 1000 times the samples, and 5."""
    x = torch.randn(64, 2)
    drawn = []
    for data in (x, 1000 * x + 5):
        torch.manual_seed(1)
        options = {"objective": NonSaturating(r1=10.0), "optimizer": adam(0.01), "progress": False}
        story = fit(GAN(2, latent=3, **SMALL), data, steps=30, **options).story
        torch.manual_seed(2)
        drawn.append(story.sample(6))
    assert torch.allclose(1000 * drawn[0] + 5, drawn[1], rtol=1e-3, atol=1.0)


def test_a_number_that_is_the_same_in_all_data_stays_the_same():
    x = torch.cat([torch.randn(64, 1), torch.full((64, 1), 3.0)], 1)
    story = fit(GAN(2, latent=3, **SMALL), x, steps=5, progress=False).story
    assert story.scale.tolist()[1] == 1.0
    assert story.loc[1] == 3.0


def test_images_stay_within_their_bounds():
    story = GAN((1, 4, 4), latent=3, generator=nn.Sequential(nn.Linear(3, 16), nn.Unflatten(-1, (1, 4, 4))), **SMALL)
    nn.init.constant_(story.generator[0].weight, 50.0)
    x = story.sample(50)
    assert float(x.min()) == 0.0
    assert float(x.max()) == 1.0
    u = story.scaled(x)
    assert float(u.min()) == -1.0
    assert torch.allclose(story.unscaled(u), x)


def test_the_label_reaches_generator_and_critic():
    """Two clusters, each of a label: samples of a label lie in its cluster."""
    torch.manual_seed(0)
    y = torch.arange(400) % 2
    x = torch.where(y == 1, 2.0, -2.0)[:, None] + 0.3 * torch.randn(400, 2)
    story = ConditionalGAN(2, latent=2, classes=2, hidden=(32,))
    story = fit(story, {"x": x, "y": y}, steps=120, optimizer=adam(5e-3, betas=(0.5, 0.99)), progress=False).story
    assert (story.sample(200, y=1) > 0).all(1).double().mean() > 0.95
    assert (story.sample(200, y=0) < 0).all(1).double().mean() > 0.95
    real = torch.full((200, 2), 2.0)
    with story.predicting():
        assert (story.score(real, torch.ones(200).long()) > story.score(real, torch.zeros(200).long())).all()


def test_a_vector_may_be_the_label():
    x = torch.randn(40, 2)
    story = ConditionalGAN(2, latent=2, condition=3, **SMALL)
    story = fit(story, {"x": x, "y": torch.randn(40, 3)}, epochs=1, progress=False).story
    assert story.sample(4, y=torch.zeros(3)).shape == (4, 2)


def test_a_learned_prior_learns_where_its_draws_follow_its_parameters():
    story = GAN(2, latent=3, prior=FlowPrior(3), **SMALL)
    before = [parameter.detach().clone() for parameter in story.prior.parameters()]
    fit(story, torch.randn(64, 2), steps=3, progress=False)
    assert any(not torch.equal(*pair) for pair in zip(before, story.prior.parameters(), strict=True))
    story = GAN(2, latent=3, prior=NormalMixture(3, components=2), **SMALL)
    with pytest.raises(ValueError, match=r"'prior.logits' receives no gradient from the generator's loss"):
        fit(story, torch.randn(64, 2), steps=3, progress=False)


def test_the_elbo_of_a_vae_gan_is_that_of_its_critics_features():
    """-KL and the density of the features at the guide's own draw, by hand."""
    story = VAEGAN(2, latent=3, **SMALL)
    x = torch.randn(6, 2)
    torch.manual_seed(4)
    guide = poutine.trace(story.guide).get_trace(x, 6)
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, 6)
    z, q = guide.nodes["z"]["value"], story.encode(x)
    seen = dist.Normal(story.features(story.decode(z)), story.log_noise.exp()).to_event(1)
    expected = seen.log_prob(story.features(x)) + story.prior().log_prob(z) - q.log_prob(z)
    assert torch.allclose(model.log_prob_sum() - guide.log_prob_sum(), expected.sum(), rtol=1e-5)


def test_the_encoder_has_no_part_in_the_game():
    story = VAEGAN(2, latent=3, **SMALL)
    batch = Batch({"x": torch.randn(6, 2)}, 6, 6, torch.arange(6))
    with story.param_store_scope():
        made = story.generated(Program(story), batch)
        gradients = torch.autograd.grad(made.sum(), list(story.encoder.parameters()), allow_unused=True)
    assert made.shape == (12, 2)
    assert gradients == (None,) * len(gradients)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: fit(GAN(3, 2), torch.zeros(4, 2)), r"GAN takes a column 'x' of shape \(n, 3\), got \(4, 2\)"),
        (lambda: fit(GAN((1, 2, 2), 2), torch.full((4, 1, 2, 2), 2.0)), "between 0 and 1, got values from 2 to 2"),
        (lambda: ConditionalGAN(2, 2), "pass classes=, the number of labels, or condition="),
        (
            lambda: fit(ConditionalGAN(2, 2, 2), {"x": torch.zeros(4, 2), "y": torch.arange(4)}),
            "ConditionalGAN: 2 of 4 labels 'y' are none of 0 to 1",
        ),
        (lambda: ConditionalGAN(2, 2, 2).sample(3, y=7), "none of 0 to 1, such as 7"),
        (lambda: GAN(2, 2, prior=NormalMixture(3)), "latent"),
        (lambda: GAN(2, 2, prior=VampPrior(2, 2)).sample(1), "needs a story that has one, such as VAEGAN"),
        (lambda: VAEGAN(2, 2, weight=0.0), "VAEGAN needs a weight above 0, got weight=0.0"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
