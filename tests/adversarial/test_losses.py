"""Adversarial losses, compared with formulas with known answers."""

import math

import pytest
import torch

from pyrogen.adversarial import Hinge, NonSaturating, Wasserstein
from tests.helpers.statistics import assert_within

GAMES = [NonSaturating(), Hinge(), Wasserstein()]
W = torch.tensor([3.0, 4.0])  # of length 5


def linear(x):
    return x @ W


def test_the_best_critics_loss_tells_the_jensen_shannon_divergence():
    """Scores log p/q of p = (1/2, 1/2) and q = (9/10, 1/10): 2 log 2 - 2 JSD."""
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    odds, middle = (p / q).log(), (p + q) / 2
    jsd = 0.5 * (p * (p / middle).log()).sum() + 0.5 * (q * (q / middle).log()).sum()
    loss = NonSaturating().critic(
        odds.repeat_interleave(torch.tensor([5, 5])), odds.repeat_interleave(torch.tensor([9, 1]))
    )
    assert float(loss) == pytest.approx(2 * math.log(2) - 2 * float(jsd), abs=1e-6)


def test_losses_at_scores():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 0.5])
    assert float(Hinge().critic(real, fake)) == 0.5 + 0.75
    assert float(Hinge().generator(fake)) == 1.25
    assert float(Wasserstein().critic(real, fake)) == -1.25 - 1.0
    assert float(Wasserstein().generator(fake)) == 1.25
    assert float(NonSaturating().generator(torch.zeros(3))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
def test_each_player_pulls_its_way(game):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    up, down = torch.autograd.grad(game.critic(real, fake), (real, fake))
    assert (up < 0).all()
    assert (down > 0).all()
    (raised,) = torch.autograd.grad(game.generator(fake), fake)
    assert (raised < 0).all()


def test_r1_of_a_linear_critic():
    x, made = torch.randn(6, 2), torch.randn(6, 2)
    assert float(Hinge(r1=2.0).penalty(linear, x, made)) == pytest.approx(0.5 * 2.0 * 25)
    assert float(Hinge(r1=0.0).penalty(linear, x, made)) == 0.0


@pytest.mark.parametrize(("shape", "r1"), [((2,), 0.4), ((1, 5, 10), 10.0), ((3, 32, 32), 10.0)])
def test_r1_where_none_is_said(shape, r1):
    x = torch.randn(6, *shape)
    found = NonSaturating().penalty(lambda x: x.flatten(1).sum(1), x, x)
    assert float(found) == pytest.approx(0.5 * r1 * x[0].numel())


def test_r1_is_of_real_data():
    def bent(x):
        return x[:, 0].relu()

    low, high = torch.full((3, 2), -1.0), torch.full((3, 2), 1.0)
    assert NonSaturating(r1=2.0).penalty(bent, low, high).item() == 0.0
    assert NonSaturating(r1=2.0).penalty(bent, high, low).item() == 1.0


def test_the_gradient_penalty_of_a_linear_critic():
    x, made = torch.randn(6, 2), torch.randn(6, 2)
    assert float(Wasserstein(gradient_penalty=10).penalty(linear, x, made)) == pytest.approx(10 * 16)
    assert float(Wasserstein(gradient_penalty=10, r1=2.0).penalty(linear, x, made)) == pytest.approx(10 * 16 + 25)


def test_the_gradient_penalty_is_taken_between_the_data():
    """Of x^2 / 2, whose gradient at u is u: real data at 0 and generated ones at 2 give E (u - 1)^2 = 1/3, u even."""
    n = 20000
    ends = torch.zeros(n, 1), torch.full((n, 1), 2.0)
    found = Wasserstein(gradient_penalty=1.0).penalty(lambda x: 0.5 * x.square().sum(1), *ends)
    assert_within(found, 1 / 3, math.sqrt((1 / 5 - 1 / 9) / n))


def test_penalties_reach_the_critics_parameters():
    weight = W.clone().requires_grad_()
    for game in (NonSaturating(r1=1.0), Wasserstein()):
        penalty = game.penalty(lambda x: x @ weight, torch.randn(3, 2), torch.randn(3, 2))
        (gradient,) = torch.autograd.grad(penalty, weight)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NonSaturating(r1=-1.0), "NonSaturating needs a weight of at least 0, got r1=-1.0"),
        (lambda: Hinge(critic_steps=0), "at least 1, got critic_steps=0"),
        (lambda: Hinge(critic_steps=1.5), "whole number"),
        (lambda: Wasserstein(gradient_penalty=-1), "got gradient_penalty=-1"),
        (lambda: Wasserstein(critic_steps=0), "got critic_steps=0"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
