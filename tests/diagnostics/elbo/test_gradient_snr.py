"""Signal and noise of gradients, against closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceGraph_ELBO
from torch import nn

from pyrogen import Story
from pyrogen.diagnostics import gradient_noise
from tests.helpers.statistics import assert_within


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
