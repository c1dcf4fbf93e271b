"""Sequence VAEs: a planted state space's likelihood, text, codes and what is made of them, and what is refused."""

import math

import pytest
import torch

from pyrogen import fit
from pyrogen.diagnostics import decompose
from pyrogen.distributions import Bernoulli, Categorical, VampPrior
from pyrogen.inference import adam, cosine, decode, encode, log_likelihood, reconstruct
from pyrogen.models import SequenceAutoencoder, SequenceVAE

KINDS = ["recurrent", "transformer"]
STAYS, MOVES, SEES = 0.9, 0.5, 0.5


def state_space(rows, places, seed):
    """s_1 ~ N(0, 1), s_t ~ N(0.9 s_{t-1}, 0.5^2), x_t ~ N(s_t, 0.5^2); lengths from 3 on."""
    generator = torch.Generator().manual_seed(seed)
    state, x = torch.randn(rows, generator=generator), []
    for _ in range(places):
        x.append(state + SEES * torch.randn(rows, generator=generator))
        state = STAYS * state + MOVES * torch.randn(rows, generator=generator)
    length = torch.randint(3, places + 1, (rows,), generator=generator)
    there = torch.arange(places) < length[:, None]
    return {"x": (torch.stack(x, 1) * there)[..., None], "length": length}


def kalman(data):
    """Its exact log-likelihood, by the Kalman filter (Kalman 1960), in nats for each sequence."""
    x, length = data["x"][..., 0].double(), data["length"]
    mean, variance = torch.zeros(len(x)).double(), torch.ones(len(x)).double()
    total = torch.zeros(len(x)).double()
    for t in range(x.shape[1]):
        spread, error = variance + SEES**2, x[:, t] - mean
        term = -0.5 * (error**2 / spread + (2 * math.pi * spread).log())
        total = total + torch.where(t < length, term, 0.0)
        gain = variance / spread
        mean, variance = STAYS * (mean + gain * error), STAYS**2 * (1 - gain) * variance + MOVES**2
    return total


def trained(story, places, lr):
    """The story, trained on the state space, and test sequences."""
    data = state_space(1500, places, 0)
    told = {"batch_size": 100, "optimizer": adam(lr), "schedule": cosine(25 * 15), "progress": False}
    return fit(story, data, epochs=25, **told), state_space(500, places, 1)


def assert_near(off, gap):
    """Bounds less the exact figure: below 0 and above -gap, but for the sampling of the test sequences."""
    error = float(off.std() / math.sqrt(len(off)))
    assert -gap - 4.27 * error < float(off.mean()) < 4.27 * error


def words():
    """Two words of different lengths, many times."""
    x = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 0]]).repeat(40, 1)
    return {"x": x, "length": torch.tensor([3, 2]).repeat(40)}


@pytest.mark.parametrize("network", KINDS)
def test_what_elements_have_in_common_goes_through_the_latent_where_the_decoder_sees_none(network):
    """By themselves, elements that do not know of each other are 1.4 nats short: all but 0.3 of that must be in z."""
    torch.manual_seed(0)
    run, test = trained(SequenceVAE((6, 1), 3, network=network, width=24, word_keep_prob=0.0), 6, 1e-2)
    found, exact = log_likelihood(run, test, 20), kalman(test)
    assert_near(found.value.double() - exact, 0.3)
    assert_near(found.elbo.double() - exact, 0.3)
    assert decompose(run, test).kl["z"].mean().value > 0.7  # nats; 1.1 seen


@pytest.mark.parametrize(("network", "gap"), [("recurrent", 0.15), ("transformer", 0.3)])
def test_a_decoder_that_sees_elements_meets_the_likelihood_and_needs_no_latent(network, gap):
    torch.manual_seed(0)
    run, test = trained(SequenceVAE((8, 1), 2, network=network, width=24), 8, 5e-3)
    assert_near(log_likelihood(run, test, 20).value.double() - kalman(test), gap)
    assert decompose(run, test).kl["z"].mean().value < 0.3  # collapsed: the elements before tell all


@pytest.mark.parametrize("network", KINDS)
def test_a_text_is_learned_and_drawn(network):
    torch.manual_seed(0)
    story = SequenceVAE(4, 2, symbols=3, network=network, width=16)
    run = fit(story, words(), epochs=40, batch_size=40, optimizer=adam(1e-2), progress=False)
    assert float(log_likelihood(run, words(), 20).value.mean()) > -math.log(2) - 0.2  # one of two words, given lengths
    drawn = run.story.sample(200, length=torch.full((200,), 2))  # how long a word is does not tell which it is
    begun = (drawn[:, None, :2] == torch.tensor([[0, 1], [2, 1]])).all(-1)
    assert float(begun.any(-1).double().mean()) > 0.9
    assert 60 < int(begun[:, 0].sum()) < 140  # half of 200, within 5.7 standard deviations
    assert bool((drawn[:, 2:] == 0).all())
    assert drawn.dtype == torch.int64


def test_the_autoencoder_is_the_noiseless_form_and_gives_back_what_it_read():
    torch.manual_seed(0)
    data = words()
    story = SequenceAutoencoder(4, 2, symbols=3, width=16)
    run = fit(story, data, epochs=40, batch_size=40, optimizer=adam(1e-2), progress=False)
    assert run.history[-1]["train_elbo"] > -0.1  # a code for each word is enough
    again = decode(run, encode(run, data), length=data["length"])
    for made in (run.story.reconstruct(**data), reconstruct(run, data), again):
        assert float((made == data["x"]).all(-1).double().mean()) > 0.75  # draws, of at least exp(-0.1) each
    with pytest.raises(ValueError, match="without a prior over codes"):
        run.story.sample(3, length=torch.tensor([3, 3, 3]))
    with pytest.raises(ValueError, match="there is no prior over codes"):
        log_likelihood(run, data, 3)


@pytest.mark.parametrize("kind", [SequenceVAE, SequenceAutoencoder])
def test_series_are_reconstructed_and_codes_decoded(kind):
    story, data = kind((8, 2), 2, width=8), {"x": torch.randn(5, 8, 2), "length": torch.tensor([0, 2, 4, 6, 8])}
    for made in (reconstruct(story, data), decode(story, encode(story, data), length=data["length"])):
        assert made.shape == (5, 8, 2)
        assert torch.equal((made != 0).any(-1).sum(1), data["length"])
    assert story.reconstruct(torch.randn(3, 4, 8, 2), torch.full((3, 4), 2)).shape == (3, 4, 8, 2)
    assert decode(story, encode(story, {"x": data["x"]})).shape == (5, 8, 2)


def test_images_are_read_row_by_row():
    story = SequenceVAE((1, 4, 3), 2, width=8)
    assert story.sample(5).shape == (5, 1, 4, 3)
    assert story.encode(torch.zeros(5, 1, 4, 3)).event_shape == (2,)


@pytest.mark.parametrize("network", KINDS)
def test_what_encodes_folds_leading_dimensions(network):
    story, x = SequenceVAE((6, 2), 2, network=network, width=8), torch.randn(3, 5, 6, 2)
    length = torch.randint(0, 7, (3, 5))
    for told in (None, length, torch.tensor(4)):
        whole = story.encode(x, told).mean
        assert whole.shape == (3, 5, 2)
        rows = story.encode(x.flatten(0, 1), told.flatten() if told is length else told).mean
        torch.testing.assert_close(whole.flatten(0, 1), rows)
    torch.testing.assert_close(story.encode(x[0, 0], length[0, 0]).mean, story.encode(x, length).mean[0, 0])
    with pytest.raises(ValueError, match=r"SequenceVAE takes tensors of shape \(..., 6, 2\), got \(5, 2, 6\)"):
        story.encode(torch.zeros(5, 2, 6))


def test_a_text_may_hide_symbols_and_still_tell_each_of_them():
    """A hidden symbol is none of the text's: what the decoder makes of it, it makes of no text."""
    torch.manual_seed(0)
    story, x, z = (
        SequenceVAE(4, 1, symbols=3, width=8, word_keep_prob=0.0),
        torch.tensor([[0] * 4, [1, 2, 0, 1]]),
        torch.ones(2, 1),
    )
    hidden = story.decoder(x, z)
    assert torch.equal(hidden[0], hidden[1])
    assert torch.equal(story.eval().decoder(x, z), hidden)  # 0: none is told afterwards either
    story.decoder.first.keep_prob = 1.0
    told = story.decoder(x, z)
    assert not torch.allclose(told[0], told[1])
    assert not torch.allclose(told[0], hidden[0])  # a text of the first symbol alone is a text


@pytest.mark.parametrize("network", KINDS)
def test_lengths_that_are_none_are_refused_wherever_they_come_in(network):
    story, x = SequenceVAE((8, 1), 2, network=network, width=8), torch.zeros(3, 8, 1)
    data = {"x": x.repeat(4, 1, 1), "length": torch.full((12,), 2)}
    run = fit(story, data, steps=1, progress=False)
    for length in ([9, 99, -1], 2.5, [0.5, 1, 2], -1):
        length = torch.as_tensor(length)
        with pytest.raises(ValueError, match="SequenceVAE takes a column 'length' of whole numbers from 0 to 8"):
            run.story.sample(3, length=length)
        with pytest.raises(ValueError, match="whole numbers from 0 to 8"):
            story.reconstruct(x, length)
        with pytest.raises(ValueError, match="whole numbers from 0 to 8"):
            story.encode(x, length)
        with pytest.raises(ValueError, match="a length is a whole number of elements from 0 to 8"):
            decode(run, torch.zeros(3, 2), length=length)
    for length in (torch.full((12,), 9), torch.rand(12), torch.full((12, 1), 2)):
        with pytest.raises(ValueError, match="whole numbers from 0 to 8"):
            fit(story, {**data, "length": length}, steps=1)
    with pytest.raises(ValueError, match=r"one for each of the rows \(3,\), or one for all, got \(2,\) of them"):
        run.story.sample(3, length=[1, 2])
    assert run.story.sample(3, length=0).abs().sum() == 0


def test_refusals():
    with pytest.raises(ValueError, match=r"series \(max_length, features\), or text .* symbols=5: reshape"):
        SequenceVAE((8, 2), 2, symbols=5)
    with pytest.raises(ValueError, match=r"event_shape=\(8,\) and symbols=0"):
        SequenceVAE(8, 2)
    with pytest.raises(ValueError, match="a probability from 0 to 1, got word_keep_prob=2"):
        SequenceVAE((8, 2), 2, word_keep_prob=2)
    with pytest.raises(ValueError, match="kind is one of recurrent, transformer, got 'conv'"):
        SequenceVAE((8, 2), 2, network="conv")
    with pytest.raises(
        ValueError, match=r"of symbols=3 takes as likelihood Categorical\(3\), got Categorical\(count=5\)"
    ):
        SequenceVAE(4, 2, symbols=3, likelihood=Categorical(5))
    with pytest.raises(ValueError, match=r"of symbols=3 takes as likelihood Categorical\(3\), got Bernoulli"):
        SequenceVAE(4, 2, symbols=3, likelihood=Bernoulli())
    with pytest.raises(
        ValueError, match="of symbols=0 takes as likelihood a family of numbers, as series have no symbols"
    ):
        SequenceVAE((4, 1), 2, likelihood=Categorical(5))
    with pytest.raises(ValueError, match="VampPrior learns pseudo-inputs by gradients, which symbols do not have"):
        SequenceVAE(4, 2, symbols=3, prior=VampPrior(4, 3))
    with pytest.raises(ValueError, match="symbols are whole numbers from 0 to 2"):
        fit(SequenceVAE(4, 2, symbols=3), {"x": torch.full((9, 4), 3)}, steps=1)
