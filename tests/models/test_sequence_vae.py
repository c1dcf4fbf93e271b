"""Sequence VAEs: a planted state space's likelihood, padding that changes nothing, text, and what is refused."""

import math

import pytest
import torch

from pyrogen import fit
from pyrogen.inference import adam, encode, log_likelihood, log_weights
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


def words():
    """Two words of different lengths, many times."""
    x = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 0]]).repeat(40, 1)
    return {"x": x, "length": torch.tensor([3, 2]).repeat(40)}


@pytest.mark.parametrize(("network", "gap"), [("recurrent", 0.15), ("transformer", 0.3)])
def test_the_likelihood_of_a_planted_state_space(network, gap):
    """The bound's mean stays below the exact mean but for the sampling of 500 test sequences, and close to it."""
    torch.manual_seed(0)
    story = SequenceVAE((8, 1), 2, network=network, width=24)
    run = fit(story, state_space(1500, 8, 0), epochs=25, batch_size=100, optimizer=adam(5e-3), progress=False)
    test = state_space(500, 8, 1)
    off = log_likelihood(run, test, 20).value.double() - kalman(test)
    error = float(off.std() / math.sqrt(len(off)))
    assert -gap - 4.27 * error < float(off.mean()) < 4.27 * error


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("kind", [SequenceVAE, SequenceAutoencoder])
def test_padding_changes_no_figure(network, kind):
    torch.manual_seed(0)
    data = state_space(40, 8, 2)
    there = (torch.arange(8) < data["length"][:, None])[..., None]
    other = {**data, "x": torch.where(there, data["x"], 1e3)}
    objectives = []
    for columns in (data, other):
        torch.manual_seed(1)
        run = fit(kind((8, 1), 2, network=network, width=8), columns, steps=5, progress=False)
        told = encode(run, columns)
        weights = None if kind is SequenceAutoencoder else log_weights(run, columns, 3, seed=0)
        objectives.append(([record["train_elbo"] for record in run.history], told, weights))
    (one, codes, weights), (same, others, alike) = objectives
    assert one == pytest.approx(same, rel=1e-6)
    assert torch.allclose(codes, others, atol=1e-6)
    assert weights is None or torch.allclose(weights, alike, atol=1e-4)


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


def test_the_autoencoder_is_the_noiseless_form():
    torch.manual_seed(0)
    story = SequenceAutoencoder(4, 2, symbols=3, width=16)
    run = fit(story, words(), epochs=40, batch_size=40, optimizer=adam(1e-2), progress=False)
    assert run.history[-1]["train_elbo"] > -0.1  # a code for each word is enough
    with pytest.raises(ValueError, match="without a prior over codes"):
        run.story.sample(3, length=torch.tensor([3, 3, 3]))
    with pytest.raises(ValueError, match="no prior says how likely"):
        log_likelihood(run, words(), 3)


def test_a_decoder_from_which_elements_are_hidden_needs_its_latent():
    divergences = []
    for keep in (1.0, 0.0):
        torch.manual_seed(0)
        story = SequenceVAE((8, 1), 1, width=16, keep=keep)
        data = state_space(400, 8, 3)
        run = fit(story, data, epochs=15, batch_size=50, optimizer=adam(1e-2), progress=False)
        divergences.append(float(encode(run, data).std()))
    assert divergences[1] > 2 * divergences[0]


def test_images_are_read_row_by_row():
    story = SequenceVAE((1, 4, 3), 2, width=8)
    assert story.sample(5).shape == (5, 1, 4, 3)
    assert story.encode(torch.zeros(5, 1, 4, 3)).event_shape == (2,)


def test_refusals():
    with pytest.raises(ValueError, match=r"series \(places, features\), or text .* symbols=5: reshape"):
        SequenceVAE((8, 2), 2, symbols=5)
    with pytest.raises(ValueError, match=r"event_shape=\(8,\) and symbols=0"):
        SequenceVAE(8, 2)
    with pytest.raises(ValueError, match="0 <= keep <= 1, got keep=2"):
        SequenceVAE((8, 2), 2, keep=2)
    with pytest.raises(ValueError, match="'recurrent' or 'transformer', got 'conv'"):
        SequenceVAE((8, 2), 2, network="conv")
    data = state_space(10, 8, 0)
    for length in (torch.full((10,), 9), torch.rand(10), torch.full((10, 1), 2)):
        with pytest.raises(ValueError, match="whole numbers from 0 to 8"):
            fit(SequenceVAE((8, 1), 2), {**data, "length": length}, steps=1)
    with pytest.raises(ValueError, match="symbols are whole numbers from 0 to 2"):
        fit(SequenceVAE(4, 2, symbols=3), {"x": torch.full((9, 4), 3)}, steps=1)
