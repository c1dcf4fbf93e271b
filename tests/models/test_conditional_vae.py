"""The conditional VAE: by hand, and its digits read by a classifier of real ones."""

import pytest
import torch
from pyro import poutine
from sklearn.svm import SVC

from pyrogen import fit
from pyrogen.data import load
from pyrogen.distributions import Gaussian, NormalMixture, VampPrior
from pyrogen.inference import adam, log_weights
from pyrogen.models import VAE, ConditionalVAE

EVENT = (1, 4, 4)


def binary(n):
    return (torch.rand(n, *EVENT) < 0.5).float()


@pytest.fixture
def story():
    return ConditionalVAE(EVENT, 3, classes=4, hidden=(16,))


def test_log_densities_are_those_written_by_hand(story):
    x, y = binary(6).double(), torch.tensor([0, 3, 2, 2, 1, 0])
    story = story.double()
    guide = poutine.trace(story.guide).get_trace(x, y, 6)
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x, y, 6)
    z = guide.nodes["z"]["value"]
    told = torch.eye(4).double()[y]
    mean, raw = story.encoder(torch.cat([x.flatten(1), told], 1)).chunk(2, -1)
    q = torch.distributions.Normal(mean, 1e-6 + torch.where(raw < 0, raw.exp(), 1 + raw)).log_prob(z).sum(1)
    logits = story.decoder(torch.cat([z, told], 1))
    p = torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    for trace in (guide, model):
        trace.compute_log_prob()
    torch.testing.assert_close(guide.nodes["z"]["log_prob"], q, rtol=0, atol=1e-10)
    torch.testing.assert_close(model.nodes["x"]["log_prob"], p, rtol=0, atol=1e-10)
    torch.testing.assert_close(model.nodes["z"]["log_prob"], prior, rtol=0, atol=1e-10)
    torch.manual_seed(5)
    by_hand = p + prior - q
    assert by_hand.shape == log_weights(story, {"x": x, "y": y}, 2).shape[1:]


def test_a_label_that_tells_nothing_leaves_the_vae():
    """With one class, whose number is always 1, it is a VAE whose first layers have that weight for a bias."""
    story, plain = ConditionalVAE(EVENT, 3, classes=1, hidden=(16,)), VAE(EVENT, 3, hidden=(16,))
    with torch.no_grad():
        for wide, narrow in ((story.encoder, plain.encoder), (story.decoder, plain.decoder)):
            for mine, theirs in zip(wide.layers[::2], narrow.layers[::2], strict=True):
                extra = mine.weight.shape[1] - theirs.weight.shape[1]
                theirs.weight.copy_(mine.weight[:, : theirs.weight.shape[1]])
                theirs.bias.copy_(mine.bias + (mine.weight[:, -1] if extra else 0))
    x = binary(7)
    weights = log_weights(story, {"x": x, "y": torch.zeros(7, dtype=torch.int64)}, 5, seed=1)
    torch.testing.assert_close(weights, log_weights(plain, {"x": x}, 5, seed=1))


def test_a_vector_for_a_label():
    story = ConditionalVAE(EVENT, 3, condition=(2, 2), hidden=(16,))
    data = {"x": binary(40), "y": torch.randn(40, 2, 2)}
    story = fit(story, data, steps=3).story
    assert story.sample(5, y=torch.zeros(5, 2, 2)).shape == story.sample(5, y=torch.zeros(2, 2)).shape == (5, *EVENT)
    assert log_weights(story, data, 3).shape == (3, 40)
    with pytest.raises(ValueError, match=r"^ConditionalVAE takes a column 'y' of shape \(n, 2, 2\), got \(40, 2\)"):
        story.check({"x": data["x"], "y": torch.zeros(40, 2)})


def test_leading_dimensions_fold(story):
    x, y = binary(6), torch.tensor([0, 3, 2, 2, 1, 0])
    mean = story.encode(x, y).mean
    folded = story.encode(x.reshape(2, 3, *EVENT), y.reshape(2, 3)).mean
    torch.testing.assert_close(folded.reshape(6, 3), mean)
    # A label that is enumerated, or particles of z, stand in front.
    each = story.encode(x, torch.arange(4)[:, None]).mean
    assert each.shape == (4, 6, 3)
    torch.testing.assert_close(each[3, 1], mean[1])
    assert story.decode(torch.randn(5, 6, 3), y).batch_shape == (5, 6)


def test_transfer_keeps_z_and_changes_the_label(story):
    x, y = binary(6), torch.tensor([0, 3, 2, 2, 1, 0])
    with torch.no_grad():
        by_hand = story.decode(story.encode(x, y).mean, torch.full((6,), 3)).mean
        again = story.decode(story.encode(x, y).mean, y).mean
    torch.testing.assert_close(story.transfer(x, y, to=3), by_hand)
    torch.testing.assert_close(story.reconstruct(x, y), again)
    assert not story.reconstruct(x, y).requires_grad


def test_refuses_what_does_not_fit(story):
    x = binary(5)
    with pytest.raises(ValueError, match=r"pass classes=.*or condition=.*: exactly one of them is required"):
        ConditionalVAE(EVENT, 3)
    with pytest.raises(ValueError, match="and not both"):
        ConditionalVAE(EVENT, 3, classes=4, condition=2)
    for y, said in (
        (torch.tensor([0, 4, 0, 0, 7]), r"2 of 5 labels 'y' are none of 0 to 3, such as 4$"),
        (
            torch.tensor([0, 1, -1, 0, 0]),
            r"1 of 5 labels .* such as -1: missing labels \(-1\) need a SemiSupervisedVAE",
        ),
        (torch.zeros(5), "labels 'y' of type int64, got torch.float32"),
        (torch.zeros(5, 4).long(), r"'y' of shape \(n\), got \(5, 4\)"),
    ):
        with pytest.raises(ValueError, match=f"^ConditionalVAE.*{said}"):
            story.check({"x": x, "y": y})
    with pytest.raises(ValueError, match=r"^ConditionalVAE asks for 'y', and the data has no such column"):
        story.check({"x": x})
    for y in (4, -1, torch.tensor([0, 1])):
        with pytest.raises(ValueError, match=r"ConditionalVAE: .* labels"):
            story.sample(5, y=y)
    with pytest.raises(ValueError, match="prior uses the encoder, which here needs labels too"):
        ConditionalVAE(EVENT, 3, classes=4, prior=VampPrior(EVENT, 5), hidden=(16,)).sample(2, y=0)


def test_composes_with_other_components():
    parts = {"likelihood": Gaussian(), "prior": NormalMixture(3, 4), "hidden": (16,)}
    story = ConditionalVAE(EVENT, 3, classes=4, **parts)
    data = {"x": torch.randn(40, *EVENT), "y": torch.arange(40) % 4}
    assert fit(story, data, steps=3).story.sample(4, y=data["y"][:4]).shape == (4, *EVENT)


@pytest.fixture(scope="module")
def digits():
    """A conditional VAE trained on digits for seconds, and its data."""
    data = load("digits", binarize="static")
    torch.manual_seed(0)
    story = ConditionalVAE(data.event_shape, 8, data.classes, hidden=(200,))
    return fit(
        story, data.train, validation=data.validation, epochs=40, optimizer=adam(3e-3), compile=False
    ).story, data


def test_generated_digits_are_read_as_asked(digits):
    """At least 90 in 100 by a classifier that was trained on real digits, which reads 98 of 100 real ones right."""
    story, _ = digits
    real = load("digits")
    judge = SVC(C=10).fit(real.train["x"].flatten(1), real.train["y"])
    assert judge.score(real.test["x"].flatten(1), real.test["y"]) > 0.97
    y = torch.arange(1000) % 10
    with story.predicting():
        means = story.decode(torch.randn(1000, 8), y).mean
    assert judge.score(means.flatten(1), y) >= 0.9
    styled = story.transfer(digits[1].test["x"], digits[1].test["y"], to=8)
    assert judge.score(styled.flatten(1), torch.full((len(styled),), 8)) >= 0.9
