"""Autoregressive distributions: causal, normalized, and draws that follow the density."""

import itertools

import pytest
import torch
from torch import nn
from torch.distributions import constraints

from pyrogen.distributions import AutoregressiveDistribution, Bernoulli, Categorical, Codebook, Quantized
from pyrogen.nn import CausalTransformer
from tests.helpers.statistics import assert_frequencies


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def transformer(length=4, symbols=3, context=0):
    torch.manual_seed(0)
    network = CausalTransformer(length, symbols=symbols, outputs=symbols, width=16, heads=2, context=context)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # far from uniform
    return network


class Linear(nn.Module):
    """Logits of pixels, linear in those before."""

    def __init__(self, length):
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(length, length).tril(-1))

    def forward(self, x):
        return (x.flatten(1) @ self.weight.T)[..., None]


def every(symbols, length):
    return torch.tensor(list(itertools.product(range(symbols), repeat=length)))


def test_probabilities_of_all_sequences_sum_to_one():
    words = AutoregressiveDistribution(transformer(), Categorical(3), (4,))
    assert float(words.log_prob(every(3, 4)).exp().sum()) == pytest.approx(1, abs=1e-5)
    pixels = AutoregressiveDistribution(Linear(9), Bernoulli(), (1, 3, 3))
    assert float(pixels.log_prob(every(2, 9).float().reshape(-1, 1, 3, 3)).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_no_output_depends_on_its_own_element_or_later_ones():
    network = transformer()
    x = torch.randint(3, (5, 4), generator=torch.Generator().manual_seed(2))
    outputs = network(x)
    for i in range(4):
        changed = x.clone()
        changed[:, i] = (x[:, i] + 1) % 3
        difference = (network(changed) - outputs).abs().amax((0, 2))
        assert bool((difference[: i + 1] == 0).all())
        assert bool((difference[i + 1 :] > 1e-4).all())


def test_steps_give_the_outputs_of_full_passes():
    network = transformer(context=2)
    x, context = torch.randint(3, (5, 4)), torch.randn(5, 2)
    step, whole = network.steps(5, context), network(x, context)
    for i in range(4):
        assert torch.allclose(step(i, x), whole[:, i], atol=1e-5)


def test_draws_by_steps_and_by_full_passes_are_the_same():
    network = transformer(length=6)

    def whole(x):
        return network(x)

    draws = []
    for each in (network, whole):
        torch.manual_seed(3)
        draws.append(AutoregressiveDistribution(each, Categorical(3), (6,)).sample((50,)))
    assert torch.equal(*draws)


@pytest.mark.parametrize("kind", ["words", "pixels"])
def test_frequencies_of_draws_are_the_probabilities(kind):
    torch.manual_seed(4)
    if kind == "words":
        density, possible = AutoregressiveDistribution(transformer(3), Categorical(3), (3,)), every(3, 3)
    else:
        density, possible = AutoregressiveDistribution(Linear(4), Bernoulli(), (1, 2, 2)), every(2, 4).float()
    drawn = density.sample((20_000,)).flatten(1)
    counts = (drawn[:, None] == possible).all(-1).sum(0)
    assert_frequencies(counts, density.log_prob(possible.reshape(-1, *density.event_shape)).exp())


def test_a_prefix_is_kept_and_the_rest_is_drawn_conditionally_on_it():
    words = AutoregressiveDistribution(transformer(3), Categorical(3), (3,))
    prefix = torch.tensor([2, 1])
    drawn = words.sample((20_000,), prefix=prefix)
    assert bool((drawn[:, :2] == prefix).all())
    completions = torch.stack([torch.tensor([2, 1, last]) for last in range(3)])
    log_prob = words.log_prob(completions)
    assert_frequencies(torch.bincount(drawn[:, 2], minlength=3), (log_prob - log_prob.logsumexp(0)).exp())


def test_shapes_with_and_without_a_context():
    plain = AutoregressiveDistribution(transformer(), Categorical(3), (4,))
    assert plain.expand((5, 2)).sample((3,)).shape == (3, 5, 2, 4)
    assert plain.log_prob(torch.zeros(7, 5, 4, dtype=torch.int64)).shape == (7, 5)
    context = torch.randn(5, 2)
    conditional = AutoregressiveDistribution(transformer(context=2), Categorical(3), (4,), context=context)
    assert conditional.batch_shape == (5,)
    x = conditional.sample((3,))
    assert x.shape == (3, 5, 4)
    assert conditional.log_prob(x).shape == (3, 5)
    wide = conditional.expand((6, 5))
    assert torch.allclose(wide.log_prob(x[0]), conditional.log_prob(x[0]).expand(6, 5))


def test_invalid_values_are_refused():
    words = AutoregressiveDistribution(transformer(), Categorical(3), (4,), validate_args=True)
    with pytest.raises(ValueError, match="support"):
        words.log_prob(torch.full((4,), 3))
    with pytest.raises(ValueError, match="made for a context of 2"):
        transformer(context=2)(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        Categorical(3).check(torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        Categorical(3).check(torch.tensor([0.5]))


def test_the_density_of_a_grid_of_vectors_is_that_of_its_codes():
    torch.manual_seed(0)
    symbols = AutoregressiveDistribution(transformer(), Categorical(3), (2, 2))
    grid = Quantized(Codebook(3, 2), symbols)
    codes = torch.tensor([[0, 1], [2, 0]])
    assert grid.event_shape == (2, 2, 2)
    assert torch.allclose(grid.log_prob(grid.codebook(codes)), symbols.log_prob(codes))
    assert grid.expand((5,)).sample().shape == (5, 2, 2, 2)
    assert isinstance(grid.support, constraints.independent)
