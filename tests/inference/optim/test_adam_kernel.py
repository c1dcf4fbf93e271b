"""torch's fused Adam by its kernel alone: the bits of the optimizer's own steps, and no import of torch's compiler."""

import math
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference.optim.adam_kernel import AdamKernel
from pyrogen.inference.optim.optimizer import Optimization, adam

OPTIONS = {
    "plain": {},
    "decayed": {"weight_decay": 0.1},
    "betas": {"betas": (0.5, 0.9), "eps": 1e-3},
    "whole rate": {"lr": 1},
}


def parameters(dtype):
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 2), (), (5,))
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def gradients(tensors, step):
    generator = torch.Generator().manual_seed(100 + step)
    for tensor in tensors:
        tensor.grad = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_and_state_are_the_optimizers(kind, dtype, options):
    (mine, theirs) = (parameters(dtype) for _ in range(2))
    one, other = (kind(p, **{"lr": 0.1, "fused": True, **OPTIONS[options]}) for p in (mine, theirs))
    assert AdamKernel.suits(one)
    kernel = AdamKernel(one)
    for step in range(6):
        for group in (one.param_groups[0], other.param_groups[0]):
            group["lr"] = group["lr"] * 0.9
        gradients(mine, step)
        gradients(theirs, step)
        assert kernel.step()
        other.step()
        if step == 3:  # the state is torch's own, and may be taken over by it
            one.load_state_dict(one.state_dict())
            assert not kernel.is_current()
            kernel = AdamKernel(one)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
        for key, value in other.state[b].items():
            assert torch.equal(one.state[a][key], value), key
            assert one.state[a][key].dtype == value.dtype


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.1),
        lambda p: torch.optim.Adam(p, 0.1),
        lambda p: torch.optim.Adam(p, 0.1, fused=True, amsgrad=True),
        lambda p: torch.optim.Adam(p, 0.1, fused=True, maximize=True),
        lambda p: torch.optim.Adam(p, torch.tensor(0.1), fused=True),
        lambda p: torch.optim.Adam([{"params": p[:1]}, {"params": p[1:], "lr": 0.2}], 0.1, fused=True),
        lambda p: torch.optim.Adam([*p, nn.Parameter(torch.ones(2, dtype=torch.float64))], 0.1, fused=True),
    ],
    ids=["sgd", "not fused", "amsgrad", "maximize", "tensor", "groups", "types"],
)
def test_what_is_no_plain_adam_steps_by_itself(make):
    assert not AdamKernel.suits(make(parameters(torch.float32)))


def test_a_hook_is_called():
    """Hooks belong to the optimizer's own step."""
    calls = []

    def make(named):
        optimizer = adam(0.1)(named)
        optimizer.register_step_post_hook(lambda *_: calls.append(1))
        return optimizer

    optimization = Optimization(make, None, None, None)
    tensors = parameters(torch.float32)
    optimization.add_parameters({str(i): p for i, p in enumerate(tensors)})
    for step in range(3):
        gradients(tensors, step)
        optimization.step(1.0)
    assert len(calls) == 3


def test_a_parameter_without_a_gradient_stays():
    tensors = parameters(torch.float32)
    optimization = Optimization(adam(0.1), None, None, None)
    optimization.add_parameters({str(i): p for i, p in enumerate(tensors)})
    before = tensors[1].detach().clone()
    for step in range(3):
        gradients(tensors, step)
        tensors[1].grad = None
        optimization.step(1.0)
    assert torch.equal(tensors[1], before)


def test_a_short_fit_does_not_import_torchs_compiler(tmp_path):
    """It takes a second, of which a short run has none to give."""
    code = """
import sys, torch, pyro, pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
from pyrogen import fit
def model(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
run = fit((model, AutoNormal(model)), torch.randn(20), steps=80, out=sys.argv[1])
assert run.mode == "traced", run.mode_reason
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


class Sum(Story):
    """Two parameters that enter as their sum share one gradient."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

    def model(self, x, n):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(self.one + self.other, 1.0).to_event(1), obs=x)

    def guide(self, x, n):
        pass


@pytest.mark.parametrize("compile", [False, "auto"])
def test_a_gradient_of_two_parameters_is_clipped_once(compile):
    """By plain gradient descent: the step has the length that clipping leaves."""
    make = lambda named: torch.optim.SGD([p for _, p in named], 1.0)  # noqa: E731
    x = torch.tensor([[3.0, 4.0, 0.0]]).repeat(80, 1)
    run = fit(Sum(), x, steps=80, batch_size=1, optimizer=make, clip_norm=1e-3, compile=compile)
    assert run.mode == ("traced" if compile else "eager")
    for parameter in (run.story.one, run.story.other):  # each has half of the squared norm
        expected = 80 * 1e-3 * torch.tensor([0.6, 0.8, 0.0]) / math.sqrt(2)
        assert torch.allclose(parameter, expected, rtol=1e-3), parameter
