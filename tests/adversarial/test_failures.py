"""Diversity, and what ails a game."""

import pytest
import torch

from pyrogen import fit
from pyrogen.adversarial import GAN, NonSaturating, detect_failures, diversity, effective_number, steps
from pyrogen.inference import adam


def ring(n, modes=8, seed=0):
    """Points around `modes` of eight places on a ring of radius 2."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.randint(modes, (n,), generator=generator) / 8
    return 2 * torch.stack([angle.cos(), angle.sin()], -1) + 0.05 * torch.randn(n, 2, generator=generator)


@pytest.mark.parametrize("places", [1, 2, 5])
def test_the_effective_number_of_places_far_apart(places):
    points = 100.0 * torch.arange(places)[:, None].repeat(6, 1)
    assert effective_number(points, 1.0) == pytest.approx(places, rel=1e-6)


def test_the_effective_number_of_two_points_at_a_distance():
    """Eigenvalues (1 +- k) / 2 for k = exp(-d^2 / 2 s^2)."""
    k = torch.exp(torch.tensor(-0.5 * 0.7**2 / 0.4**2))
    shares = torch.stack([1 + k, 1 - k]) / 2
    expected = torch.special.entr(shares).sum().exp()
    assert effective_number(torch.tensor([[0.0], [0.7]]), 0.4) == pytest.approx(float(expected), rel=1e-5)


def test_diversity_of_the_same_and_of_fresh_draws_is_one():
    data = ring(256)
    assert diversity(data, data) == 1.0
    assert diversity(ring(256, seed=1), data) == pytest.approx(1.0, abs=0.05)
    assert diversity(10 * ring(256, seed=1), 10 * data) == pytest.approx(diversity(ring(256, seed=1), data), rel=1e-4)


def test_diversity_falls_with_every_mode_that_is_lost():
    found = [diversity(ring(256, modes, seed=1), ring(256)) for modes in range(8, 0, -1)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[-2] < 0.5


def test_data_all_alike_have_no_diversity_to_lose():
    assert diversity(torch.randn(5, 2), torch.ones(5, 2)) == 1.0


def test_ailments_are_named_with_what_to_do():
    assert detect_failures({"diversity": 0.8, "critic_accuracy": 0.9}) == []
    assert detect_failures({}) == []
    collapsed, won = detect_failures({"diversity": 0.12, "critic_accuracy": 0.997})
    assert collapsed.startswith("mode collapse: generated data are 12% as diverse")
    assert won.startswith("the critic has won: it scores a real datum above a generated one in 99.7%")
    assert all("raise r1=" in words for words in (collapsed, won))


class Stuck(torch.nn.Module):
    """A generator that makes one mode of whatever z."""

    def __init__(self):
        super().__init__()
        self.place, self.slope = torch.nn.Parameter(torch.tensor([1.4, 0.0])), torch.nn.Linear(4, 2)

    def forward(self, z):
        return self.place + 0.03 * self.slope(z)


@pytest.fixture
def hasty(monkeypatch):
    """Figures that forget fast, and detect_failures told from the 20th step on."""
    monkeypatch.setattr(steps, "MIN_STEPS_TO_DIAGNOSE", 20)
    monkeypatch.setattr(steps, "RUNNING_MEAN_WEIGHT", 0.5)


def stuck(data, steps, **options):
    """A run in which the critic alone moves, against a generator of one mode."""
    story = GAN(2, latent=4, generator=Stuck(), hidden=(16,))
    return fit(story, data, steps=steps, batch_size=64, freeze="generator", progress=False, **options)


@pytest.mark.usefixtures("hasty")
def test_a_collapsed_generator_is_flagged_in_history_and_log(caplog):
    run = stuck(ring(512), steps=40)
    last = run.history[-1]
    assert last["diversity"] < 0.5
    assert "mode collapse" in last["health"]
    assert "health" not in run.history[0]
    said = [record.message for record in caplog.records if "mode collapse" in record.message]
    assert len(said) == 1
    assert said[0].startswith("GAN, step 24: mode collapse")


@pytest.mark.usefixtures("hasty")
def test_a_critic_that_has_won_is_flagged():
    """The generator is stuck far from the data."""
    run = stuck(torch.randn(512, 2).clamp(-1.5, 0.0), steps=80, objective=NonSaturating(r1=0.0), optimizer=adam(0.01))
    assert run.history[-1]["critic_accuracy"] > 0.99
    assert "the critic has won" in run.history[-1]["health"]


@pytest.mark.usefixtures("hasty")
def test_a_generator_of_every_mode_is_not_flagged():
    class Fine(Stuck):
        def forward(self, z):
            angle = torch.pi / 4 * (z[..., :1] * 50).round()
            return torch.cat([angle.cos(), angle.sin()], -1) * 1.4 + 0.03 * self.slope(z) + 0 * self.place

    story = GAN(2, latent=4, generator=Fine(), hidden=(16,))
    run = fit(story, ring(512), steps=40, batch_size=64, freeze="generator", progress=False)
    assert run.history[-1]["diversity"] == pytest.approx(1.0, abs=0.15)
    assert "health" not in run.history[-1]
