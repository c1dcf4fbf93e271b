"""Codebooks: nearest vectors far from the origin, averages of encodings, dead codes, and grids of vectors."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen.distributions import Codebook, Quantized


def codebook_at(offset):
    """Vectors about a unit from each other, far from the origin."""
    book = Codebook(64, 4)
    book.vectors.copy_(torch.randn(64, 4) + offset)
    return book


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e4])
def test_a_vector_is_its_own_nearest_far_from_the_origin(offset):
    book = codebook_at(offset)
    assert torch.equal(book.nearest(book.vectors), torch.arange(64))


def test_the_density_of_a_grid_far_from_the_origin_is_that_of_its_codes():
    symbols = dist.Categorical(torch.rand(2, 64)).to_event(1)
    codes = symbols.sample((50,))
    grid = Quantized(codebook_at(1e3), symbols)
    assert torch.allclose(grid.log_prob(grid.codebook(codes)), symbols.log_prob(codes))


def test_under_autocast_the_nearest_and_the_means_are_the_same():
    z = torch.randn(4000, 16) + 3
    books = [Codebook(32, 16), Codebook(32, 16)]
    books[0].initialize(z)
    books[1].load_state_dict(books[0].state_dict())
    index = books[0].nearest(z)
    books[0].update(z, index)
    with torch.autocast("cpu", torch.bfloat16):
        assert (nn.Linear(16, 1)(z)).dtype is torch.bfloat16  # it is on
        assert torch.equal(books[1].nearest(z), index)
        books[1].update(z, index)
    assert torch.equal(books[0].vectors, books[1].vectors)


def test_vectors_in_float32_are_nearest_to_themselves_in_float64():
    book = codebook_at(0.0)
    assert torch.equal(book.nearest(book.vectors.double()), torch.arange(64))


def test_a_code_that_is_used_is_not_dead():
    """However rare it was: the row that brings it back moves it, and no other row takes its place."""
    book = Codebook(2, 1, decay=0.9)
    book.vectors.copy_(torch.tensor([[0.0], [100.0]]))
    book.counts.copy_(torch.tensor([100.0, 1e-6]))
    book.sums.copy_(book.vectors * book.counts[:, None])
    z = torch.cat([torch.zeros(99, 1), torch.full((1, 1), 90.0)])
    book.update(z, book.nearest(z))
    assert float(book.vectors[1]) == pytest.approx(90, abs=0.01)


@pytest.mark.parametrize("rows", [41, 200])
def test_dead_codes_are_reset_to_different_rows(rows):
    book = Codebook(41, 1, decay=0.0)
    book.vectors[1:] = 1e6  # all but one are dead at once
    z = torch.randn(rows, 1)
    book.update(z, torch.zeros(rows, dtype=torch.int64))
    assert float(book.vectors[0]) == pytest.approx(float(z.mean()), abs=1e-5)
    assert len(book.vectors[1:].unique()) == 40
    assert float(torch.cdist(book.vectors[1:], z).min(1).values.max()) < 1e-5


def test_in_evaluation_mode_vectors_do_not_change():
    book = Codebook(3, 2).eval()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    z = torch.randn(20, 2)
    book.update(z, book.nearest(z))
    assert all(torch.equal(value, before[name]) for name, value in book.state_dict().items())


@pytest.mark.parametrize("wrong", [{"codes": 0}, {"features": 0}, {"decay": 1.0}, {"dead": 2.0}, {"dead": -0.1}])
def test_invalid_arguments_are_refused(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=rf"a code and a feature at least, 0 <= decay < 1 .*{name}={value}"):
        Codebook(**{"codes": 3, "features": 2, **wrong})
