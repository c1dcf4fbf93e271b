"""Trends of runs, planted and absent; signal and noise of gradients in closed form."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceGraph_ELBO
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import elbo_trend, gradient_noise
from pyrogen.models import PPCA
from tests.helpers.statistics import assert_within


def history(figures):
    return [{"epoch": i, "train_elbo": float(figure)} for i, figure in enumerate(figures)]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_has_no_trend(correlation, seed):
    """The trend over its error is a standard normal variable, of autocorrelated noise nearly."""
    rng, z = np.random.default_rng(seed), []
    for _ in range(400):
        noise = rng.normal(size=600)
        for t in range(1, 600):
            noise[t] += correlation * noise[t - 1]
        z.append(elbo_trend(history(noise), window=1).z)
    assert_within(np.mean(z), 0.0, 1 / 20)
    assert 0.8 < np.std(z) < 1.3
    if correlation == 0.0:
        assert_within(np.std(z), 1.0, 1 / math.sqrt(800) + 0.02)


def test_a_planted_trend_is_found(seed):
    t = np.arange(1000)
    noise = np.random.default_rng(seed).normal(size=1000)
    found = elbo_trend(history(-100 + 0.002 * t + noise))
    assert_within(found.change.value, 0.002 * 499, found.change.error)
    assert abs(found.change.error / math.sqrt(12 / 500) - 1) < 0.3
    assert (found.records, found.z > 4) == (500, True)
    assert elbo_trend(history(-100 - 0.01 * t)).z < -1000
    assert elbo_trend(history(np.zeros(100))).z == 0.0


def test_a_run_that_was_stopped_early_is_told_from_one_that_was_not(seed):
    story, x = PPCA(4, 1), 3 * torch.randn(200, 4)
    early = fit(story, x, epochs=40, progress=False, seed=seed)
    assert elbo_trend(early).z > 4.27
    assert "nats per datum over the last 20 records" in str(elbo_trend(early))


def test_too_little_history_is_refused():
    with pytest.raises(ValueError, match="expected at least 20 finite records of 'train_elbo' in the window, got 19"):
        elbo_trend(history(np.zeros(38)))
    with pytest.raises(ValueError, match="finite records of 'validation_elbo' in the window, got 0"):
        elbo_trend(history(np.zeros(100)), "validation_elbo")
    with pytest.raises(ValueError, match="finite"):
        elbo_trend(history([math.nan] * 50))
    with pytest.raises(ValueError, match="window must be above 0 and at most 1, got 2"):
        elbo_trend(history(np.zeros(100)), window=2)


class Shift(Story):
    """z ~ N(0, I), x | z ~ N(z, I), with a guide N(m, .5^2 I) for all x: the gradient is 2m - x plus noise."""

    def __init__(self, m, dimensions=1):
        super().__init__()
        self.m = nn.Parameter(torch.full((dimensions,), m))

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.m), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(self.m, 0.5).to_event(1))


@pytest.mark.parametrize("m", [0.0, 2.0])
def test_signal_and_noise_have_their_closed_forms(m, seed):
    story, x = Shift(m), torch.zeros(5, 1)
    found = gradient_noise(story, x, 1000, batch_size=None, seed=seed)
    # Of 5 data: mean 2m, variance (2 * .5)^2 / 5.
    assert found.names == ("m", "all")
    assert_within(found.signal.value, (2 * m) ** 2, found.signal.error)
    assert_within(found.noise, 0.2, 0.2 * math.sqrt(2 / 1000))
    assert_within(found.ratio.value, (2 * m) ** 2 / 0.2, found.ratio.error + (2 * m) ** 2 / 0.2 * math.sqrt(2 / 1000))
    error = found.signal.error[0]
    exact = 2 * 2 * m * math.sqrt(0.2 / 1000) if m else math.sqrt(2) * 0.2 / 1000
    assert 0.3 < error / exact < 3
    assert story.m.grad is None


def test_the_signal_of_many_parameters_has_no_bias(seed):
    found = gradient_noise(Shift(0.0, 400), torch.zeros(5, 400), 100, batch_size=None, seed=seed)
    assert_within(found.signal.value, 0.0, found.signal.error)  # the mean gradient's own square is 400 * .2 / 100
    assert found.signal.error.max() < 0.2


def test_mini_batches_add_noise(seed):
    x = 3 * torch.randn(200, 1)
    found = gradient_noise(Shift(0.0), x, 400, batch_size=10, seed=seed)
    # Drawn without replacement: (1 - 10 / 200) var(x) / 10, and (2 * .5)^2 / 10 of the draws.
    exact = float((1 - 10 / 200) * x.var() / 10 + 0.1)
    assert_within(found.noise[0], exact, exact * math.sqrt(2 / 400))
    assert str(found).startswith("m ")


def test_what_has_no_gradient_is_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 20, got 10"):
        gradient_noise(Shift(0.0), torch.zeros(5, 1), 10)

    with pytest.raises(ValueError, match="objective: TraceGraph_ELBO has no differentiable loss"):
        gradient_noise(Shift(0.0), torch.zeros(5, 1), objective=TraceGraph_ELBO())
    frozen = Shift(0.0).requires_grad_(False)
    with pytest.raises(ValueError, match="Shift has no parameter to train"):
        gradient_noise(frozen, torch.zeros(5, 1))
