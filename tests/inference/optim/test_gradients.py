"""Gradients that are views of other memory: every way to take steps moves parameters as stock SVI does."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import Trace_ELBO
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import SVI, adam
from pyrogen.inference.optim.gradients import set_gradients
from pyrogen.inference.svi import pyro_svi
from pyrogen.inference.training import defaults

STEPS = 5
X = torch.linspace(-1.0, 2.0, 24).reshape(8, 3)
SCALES = torch.arange(1.0, 13.0).reshape(4, 3)

# Functions of a weight (3, 4) to (8, 3) whose gradients come out transposed, expanded, strided, as parts of others.
USES = {
    "transposed": lambda w: X + (w.t() * SCALES).sum(0),
    "permuted": lambda w: X + (w.reshape(3, 2, 2).permute(2, 1, 0) * SCALES.reshape(2, 2, 3)).sum((0, 1)),
    "stacked": lambda w: X + (torch.stack([w, 2 * w], -1) * torch.tensor([1.0, -3.0])).sum((1, 2)),
    "every second": lambda w: X + w[:, ::2].sum(1) - (w[:, 1::2] ** 2).sum(1),
    "expanded": lambda w: X + w.sum(1).sum() * torch.tensor([1.0, -2.0, 3.0]),
    "einsum": lambda w: X + torch.einsum("ij,ji->i", w, SCALES),
    "products": lambda w: X @ w @ SCALES / 10,
    "transposed product": lambda w: X + (SCALES @ w).diagonal()[:3] / 10,
    "Beta": lambda w: X + dist.Beta(w.exp(), 1 + w.exp() * 2).rsample().sum(1),
}


class Weighted(nn.Module):
    def __init__(self, use):
        super().__init__()
        self.use, self.weight = use, nn.Parameter(torch.linspace(-0.5, 0.7, 12).reshape(3, 4))

    def model(self, x):
        pyro.module("weighted", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.use(self.weight) + z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))


class WeightedStory(Weighted, Story):
    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.use(self.weight) + z, 1.0).to_event(1), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))


def by_svi(kind, use):
    pyro.clear_param_store()
    program = Weighted(use)
    pyro.set_rng_seed(3)
    svi = kind(program.model, program.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(STEPS):
        svi.step(X)
    return program.weight.detach().clone()


@pytest.mark.free_store
@pytest.mark.parametrize("use", USES)
def test_the_drop_in_moves_parameters_as_stock_does(use, monkeypatch):
    monkeypatch.setattr(pyro_svi, "EAGER_STEPS", 1)
    torch.testing.assert_close(by_svi(SVI, USES[use]), by_svi(pyro.infer.SVI, USES[use]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("use", USES)
def test_fused_steps_move_parameters_as_steps_that_are_not_fused(use, clip_norm, monkeypatch):
    monkeypatch.setattr(defaults, "MIN_STEPS_TO_TRACE", 1)
    weights = {}
    for fused in (True, False):
        for compile in (False, "auto"):
            story = WeightedStory(USES[use])
            options = {"optimizer": adam(0.1, fused=fused), "clip_norm": clip_norm, "seed": 3, "progress": False}
            run = fit(story, {"x": X}, steps=STEPS, batch_size=None, compile=compile, **options)
            assert run.mode == ("traced" if compile else "eager")
            weights[fused, compile] = run.story.weight.detach()
    for weight in weights.values():
        torch.testing.assert_close(weight, weights[False, False], rtol=1e-5, atol=1e-6)


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    orders=st.lists(st.permutations(range(4)), min_size=2, max_size=2),
    shared=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_each_gradient_has_its_own_memory_and_its_parameters_layout(shape, orders, shared):
    def laid(value, order):
        order = [i for i in order if i < len(shape)]
        return value.permute(order).contiguous().permute([order.index(i) for i in range(len(shape))])

    value = torch.randn(shape)
    parameters = [laid(torch.zeros(shape), order).requires_grad_() for order in orders]
    gradients = [laid(value, orders[0])] * 2 if shared else [laid(value, order) for order in orders[::-1]]
    set_gradients(parameters, gradients)
    assert parameters[0].grad.data_ptr() != parameters[1].grad.data_ptr()
    for parameter in parameters:
        assert torch.equal(parameter.grad, value)
        assert parameter.grad.stride() == parameter.stride()


def test_an_expanded_parameter_trains_as_its_copy():
    weights = []
    for value in (torch.ones(3, 1).expand(3, 4), torch.ones(3, 4)):
        story = WeightedStory(USES["products"])
        story.weight = nn.Parameter(value)
        weights.append(fit(story, {"x": X}, steps=STEPS, seed=3, progress=False).story.weight)
    torch.testing.assert_close(*weights)
