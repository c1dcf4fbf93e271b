"""Log weights of many equal chunks are compiled, and stay what they were."""

import pytest
import torch

from pyrogen.inference import log_likelihood, log_weights
from pyrogen.inference.compile import compiled_step, tracing
from pyrogen.inference.likelihood import memory_budget, weights
from pyrogen.models import PPCA
from tests.helpers.stories import Mixture, Topics


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(memory_budget, "ELEMENTS", 2**12)
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda: PPCA(6, 2), torch.randn(40, 6)),
        (Topics, torch.poisson(torch.full((40, 10), 2.0))),
        (Mixture, torch.linspace(-2, 2, 40)),
    ],
)
def test_compiled_weights_are_the_eager_ones(make, data, monkeypatch):
    story, traced = make(), []
    plain = log_weights(story, data, 60, seed=1)
    monkeypatch.setattr(weights, "MIN_CHUNKS_TO_COMPILE", 2)
    monkeypatch.setattr(weights, "trace", lambda *args: traced.append(1) or tracing.trace(*args))
    fast = log_weights(story, data, 60, seed=1)
    assert traced
    assert torch.allclose(fast, plain, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_traced_is_evaluated_eagerly(monkeypatch):
    class Reads(Topics):
        def model(self, x, n):
            return super().model(x, n) if self.decoder.weight.sum() > -1e6 else None

    monkeypatch.setattr(weights, "MIN_CHUNKS_TO_COMPILE", 2)
    story, x = Reads(), torch.poisson(torch.full((40, 10), 2.0))
    value = log_likelihood(story, x, 60, seed=1).value
    monkeypatch.setattr(weights, "MIN_CHUNKS_TO_COMPILE", 10**9)
    assert torch.equal(value, log_likelihood(story, x, 60, seed=1).value)
