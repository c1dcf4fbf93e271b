"""Language models: normalized over texts of a length, independent of padding, completed, learning a known source."""

import itertools
import math

import pytest
import torch

from pyrogen import fit
from pyrogen.autoregressive import LanguageModel
from pyrogen.inference import adam, cosine, log_likelihood
from tests.helpers.statistics import assert_frequencies, assert_within


def far_from_uniform(network="transformer"):
    torch.manual_seed(0)
    story = LanguageModel(4, 3, network=network, width=8, layers=1)
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return story


@pytest.mark.parametrize("network", ["transformer", "recurrent"])
@pytest.mark.parametrize("length", [2, 4])
def test_probabilities_of_all_texts_of_a_length_sum_to_one(network, length):
    story = far_from_uniform(network)
    texts = torch.tensor(list(itertools.product(range(3), repeat=length)))
    padded = torch.nn.functional.pad(texts, (0, 4 - length))
    lengths = torch.full((len(texts),), length)
    with torch.no_grad():
        log_prob = story.log_prob(padded, lengths)
        assert float(log_prob.double().exp().sum()) == pytest.approx(1, abs=1e-5)
        other = torch.nn.functional.pad(texts, (0, 4 - length), value=2)  # padding has no effect
        assert torch.equal(story.log_prob(other, lengths), log_prob)


def test_completions_begin_with_the_given_symbols_and_follow_the_conditional(seed):
    story = far_from_uniform()
    torch.manual_seed(seed)
    drawn = story.complete(torch.tensor([[2, 0]]).expand(20_000, 2), torch.full((20_000,), 3))
    assert drawn.shape == (20_000, 4)
    assert bool((drawn[:, :2] == torch.tensor([2, 0])).all())
    assert not drawn[:, 3].any()
    texts = torch.tensor([[2, 0, last, 0] for last in range(3)])
    with torch.no_grad():
        log_prob = story.log_prob(texts, torch.full((3,), 3))
    assert_frequencies(torch.bincount(drawn[:, 2], minlength=3), log_prob.double().softmax(0))


def test_a_planted_markov_chain_is_learned_to_its_entropy():
    """Symbols that follow each other with known probabilities: no model is better, and training approaches them."""
    move = torch.tensor([[0.8, 0.15, 0.05], [0.05, 0.8, 0.15], [0.15, 0.05, 0.8]])
    torch.manual_seed(1)
    x = torch.zeros(4000, 8, dtype=torch.int64)
    x[:, 0] = torch.randint(3, (4000,))
    for t in range(1, 8):
        x[:, t] = torch.multinomial(move[x[:, t - 1]], 1).squeeze(1)
    true = math.log(1 / 3) + move[x[:, :-1], x[:, 1:]].log().sum(1)
    story = LanguageModel(8, 3, network="recurrent", width=16, layers=1)
    run = fit(story, x[:3000], epochs=12, optimizer=adam(0.01), schedule=cosine(12 * 24), progress=False)
    log_prob = log_likelihood(run, x[3000:]).value
    difference = (true[3000:] - log_prob).double()
    assert float(difference.mean()) < 0.05  # nats per text of 8 symbols
    assert float(difference.mean()) > -4.27 * float(difference.std()) / math.sqrt(len(difference))
    bits = run.story.bits_per_symbol(x[3000:])
    assert_within(bits, float(-log_prob.double().mean()) / 8 / math.log(2), 1e-6)


def test_invalid_texts_lengths_and_networks_are_refused():
    story = LanguageModel(4, 3, width=8)
    with pytest.raises(ValueError, match=r"completes x of shape \(n, up to 4\), got \(2, 5\)"):
        story.complete(torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        story.complete(torch.full((2, 2), 3))
    with pytest.raises(ValueError, match="'length' of whole numbers from 0 to 4"):
        fit(story, {"x": torch.zeros(5, 4, dtype=torch.int64), "length": torch.full((5,), 5)}, epochs=1)
    with pytest.raises(ValueError, match="network is one of transformer, recurrent"):
        LanguageModel(4, 3, network="lstm")


def test_completed_texts_have_the_length_that_is_given():
    story = LanguageModel(max_length=6, symbols=3, width=8, layers=1)
    begin, length = torch.tensor([[1, 2], [2, 1]]), torch.tensor([3, 5])
    x = story.complete(begin, length)
    assert torch.equal(x[:, :2], begin)
    assert not x[0, 3:].any()
    assert not x[1, 5:].any()
    with pytest.raises(ValueError, match="completes 2 symbols to texts of length 1"):
        story.complete(begin, torch.tensor([1, 5]))
    with pytest.raises(ValueError, match="'length' of whole numbers from 0 to 6"):
        story.complete(begin, torch.tensor([3, 7]))
