"""Errors of a guide whose sign varies by datum, and weights that hardly vary."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrogen import Story
from pyrogen.diagnostics import diagnose
from pyrogen.diagnostics.guide.datum_moments import datum_moments
from pyrogen.diagnostics.guide.importance import ImportanceWeights


class Conjugate(Story):
    """z ~ N(0, 1), x given z ~ N(z, 1): the posterior is N(x/2, 1/2). Its guide is off by datum."""

    def __init__(self, shift=0.0, width=1.0):
        super().__init__()
        self.shift, self.factor = shift, width

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x, n):
        sign = torch.where((100 * x).floor() % 2 == 0, 1.0, -1.0)
        sd = 0.5**0.5
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(x / 2 + self.shift * sd * sign, sd * self.factor**sign))


def data(n=300, seed=0):
    return {"x": torch.randn(n, generator=torch.Generator().manual_seed(seed)) * 2**0.5}


@pytest.mark.parametrize("shift", [0.3, 0.5, 0.8])
def test_the_root_mean_square_of_shifts(shift):
    moments = datum_moments(Conjugate(shift), data(), 1000, seed=0)
    assert float(moments.rms_shift.value[0]) == pytest.approx(shift, rel=0.1)
    assert float(moments.shift.value.mean()) == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize("width", [1.4, 1.6])
def test_the_root_mean_square_of_log_widths(width):
    moments = datum_moments(Conjugate(0.0, width), data(), 1000, seed=0)
    assert float(moments.rms_log_width.value[0]) == pytest.approx(np.log(width), rel=0.25)


def test_an_exact_guide_has_none():
    moments = datum_moments(Conjugate(), data(), 500, seed=0)
    assert float(moments.rms_shift.value[0]) < 1e-3
    assert float(moments.rms_log_width.value[0]) < 1e-3


@pytest.mark.parametrize(
    ("story", "right"),
    [
        (Conjugate(), True),
        (Conjugate(0.05), True),
        (Conjugate(0.0, 1.05), True),
        (Conjugate(0.5), False),
        (Conjugate(0.0, 1.6), False),
    ],
    ids=["exact", "nearly: means", "nearly: widths", "means by datum", "widths by datum"],
)
def test_the_verdict(story, right):
    diagnosis = diagnose(story, data(400), budget="quick")
    assert (diagnosis.verdict_on("guide") == "believe") == right, diagnosis.sentence
    if not right:
        assert {"shifted", "narrow", "wide"} & diagnosis.kinds


def test_weights_that_hardly_vary_are_reliable_whatever_their_tail():
    """A guide with the right moments: log w is a multiple of z^3 - 3z, whose largest values say nothing of a tail."""
    z = np.random.default_rng(0).standard_normal((4000, 20))
    weights = ImportanceWeights(0.01 * (z**3 - 3 * z))
    assert (weights.khat > weights.threshold).mean() > 0.5
    assert weights.negligible.all()
    assert not weights.unreliable.any()
    heavy = ImportanceWeights(1.5 * np.abs(z))
    assert not heavy.negligible.any()


class Sums(Story):
    """x given z ~ N(z_1 + c z_2, .5) for c of -1 or 1: correlations of -c / 1.25 that a mean-field guide lacks."""

    def model(self, x, c, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z[..., 0] + c * z[..., 1], 0.5), obs=x)

    def guide(self, x, c, n):
        mean = x[:, None] * torch.stack([torch.ones_like(c), c], -1) / 2.25
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(mean, 0.5).to_event(1))


def test_correlations_whose_sign_depends_on_the_datum():
    torch.manual_seed(0)
    c = torch.randint(0, 2, (300,)) * 2.0 - 1
    rows = {"x": Sums().model(None, c, 300), "c": c}
    moments = datum_moments(Sums(), rows, 4000)
    assert abs(float(moments.dependence.value[:, 0, 1].mean())) < 0.1
    assert float(moments.rms_dependence.value[0, 1]) == pytest.approx(0.8, rel=0.15)
    assert "correlations" in diagnose(Sums(), rows, budget="quick").kinds


def test_one_latent_has_no_correlations():
    assert datum_moments(Conjugate(), data(20), 100).dependence is None
