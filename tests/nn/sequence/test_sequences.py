"""Networks over sequences: encoder, padding, and word dropout."""

import math

import pytest
import torch

from pyrogen.nn import SequenceEncoder, WordDropout, elements, without_padding
from tests.helpers.statistics import assert_within


@pytest.fixture(params=["recurrent", "transformer"])
def kind(request):
    return request.param


@pytest.mark.parametrize("symbols", [0, 3])
@pytest.mark.parametrize("lead", [(), (1,), (4,), (2, 4), (0,), (2, 0)])
def test_any_batch_dimensions_give_what_a_loop_gives(kind, symbols, lead):
    network = SequenceEncoder(3, symbols, 0 if symbols else 2, kind, width=8)
    x = torch.randint(3, (*lead, 5)) if symbols else torch.randn(*lead, 5, 2)
    length = torch.randint(6, lead)
    out = network(x, length)
    assert out.shape == (*lead, 3)
    unit = (5,) if symbols else (5, 2)
    rows = zip(x.reshape(math.prod(lead), *unit), length.reshape(math.prod(lead)), strict=True)
    for row, (each, end) in zip(out.reshape(math.prod(lead), 3), rows, strict=True):
        torch.testing.assert_close(row, network(each, end))


def test_padding_has_no_effect_and_empty_sequences_are_alike(kind):
    network, x, length = SequenceEncoder(3, features=2, kind=kind, width=8), torch.randn(6, 5, 2), torch.arange(6)
    other = torch.where((torch.arange(5) < length[:, None])[..., None], x, 1e30)
    assert torch.equal(network(x, length), network(other, length))
    torch.testing.assert_close(network(x, length)[3], network(x[3, :3]))
    assert torch.equal(network(x, length)[0], network.last.bias)
    network(other, length).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


def test_another_number_of_features_is_refused():
    with pytest.raises(ValueError, match=r"SequenceEncoder takes tensors of shape \(..., 2\), got \(4, 5, 3\)"):
        SequenceEncoder(3, features=2)(torch.zeros(4, 5, 3))


def test_elements_are_those_before_the_padding():
    x = torch.arange(12).reshape(3, 4)
    assert elements(x, torch.tensor([0, 1, 3])).tolist() == [4, 8, 9, 10]
    assert elements(x, None).tolist() == list(range(12))
    assert without_padding(x, torch.tensor([0, 1, 3])).tolist() == [[0] * 4, [4, 0, 0, 0], [8, 9, 10, 0]]
    assert without_padding(x, None) is x


def test_word_dropout_masks_the_given_share_of_tokens_in_training_mode(seed):
    torch.manual_seed(seed)
    embedding, x = torch.nn.Embedding(3, 8), torch.randint(3, (400, 50))
    network = WordDropout(embedding, 8, keep_prob=0.7)
    tokens = network(x)
    masked = (tokens == network.mask_token).all(-1)
    assert torch.equal(tokens[~masked], embedding(x)[~masked])
    assert_within(masked.double().mean(), 0.3, math.sqrt(0.3 * 0.7 / x.numel()))
    assert torch.equal(network.eval()(x), embedding(x))
    never = WordDropout(embedding, 8, keep_prob=0.0)
    for mode in (True, False):
        assert torch.equal(never.train(mode)(x), never.mask_token.expand(400, 50, 8))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is one of recurrent, transformer, got 'lstm'"):
        SequenceEncoder(3, symbols=3, kind="lstm")
