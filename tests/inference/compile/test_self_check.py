"""The self-check of compiled steps finds programs that change, and accepts rounding."""

import queue

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import adam
from pyrogen.inference.compile import compiled_step
from tests.helpers.compiled_runs import counts, run
from tests.helpers.stories import Topics


class Turns(Topics):
    """Another scale from the 6th call on, from a queue, into which nothing can look."""

    def __init__(self):
        super().__init__()
        self.scales = queue.SimpleQueue()
        for scale in [1.0] * 6 + [2.0] * 1000:
            self.scales.put(scale)

    def model(self, x, n):
        with pyro.poutine.scale(scale=self.scales.get()):
            return super().model(x, n)


def test_a_program_that_turns_unseen_is_refused():
    with pytest.raises(
        RuntimeError, match=r"at step \d+ the compiled step differs from the eager one: the loss is .*compile=False"
    ):
        run(Turns, counts, True, steps=100)


def test_under_auto_a_failed_check_ends_recording_and_steps_go_on():
    with pytest.warns(UserWarning, match=r"at step \d+ the traced step differs .* further steps are eager"):
        mixed = run(Turns, counts, "auto", steps=100)
    assert mixed.history[-1]["step"] == 100
    assert "differs from the eager one" in mixed.mode_reason


@pytest.mark.parametrize("least", [1, 1000])
def test_under_auto_a_failed_check_leaves_the_optimizer_whole(monkeypatch, least):
    """The program is what it was but for one check that fails: all losses are those of eager steps."""
    monkeypatch.setattr("pyrogen.inference.training.defaults.MIN_STEPS_TO_COMPILE", least)
    eager = run(Topics, counts, False, steps=60)
    answers = iter([None, None, "the loss is 1, expected 2"])
    monkeypatch.setattr("pyrogen.inference.compile.dispatch.difference_between", lambda *_: next(answers, None))
    with pytest.warns(UserWarning, match="further steps are eager"):
        mixed = run(Topics, counts, "auto", steps=60)
    for ours, theirs in zip(mixed.history, eager.history, strict=True):
        assert ours["train_elbo"] == pytest.approx(theirs["train_elbo"], rel=1e-4)


class Cancelling(Story):
    """Two terms whose gradients, of some 10^6, cancel but for 1: a last digit of them is a tenth of what is left."""

    def __init__(self, large):
        super().__init__()
        self.large, self.weight = large, nn.Parameter(torch.linspace(1, 2, 50))

    def model(self, x, n):
        up, down = (self.weight * 3.1) ** 2 * (self.large / 9.61), self.weight**2 * self.large
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        pyro.factor("terms", (up - down + self.weight).sum())

    def guide(self, x, n):
        pass


@pytest.mark.parametrize(("large", "accepted"), [(1e6, True), (1.0, False)])
def test_rounding_is_distinguished_from_a_wrong_program(monkeypatch, large, accepted):
    monkeypatch.setattr("pyrogen.inference.optim.optimizer.MAX_FLAT_PARAMETERS", 0)

    def off(graph, *_):
        def call(*inputs):
            loss, *gradients = graph(*inputs)
            return [loss, *(gradient * 1.2 for gradient in gradients)]

        return call

    monkeypatch.setattr(compiled_step, "COMPILER", off)
    options = {"steps": 3, "optimizer": adam(1e-6), "progress": False}
    if accepted:
        assert fit(Cancelling(large), {"x": torch.zeros(20)}, compile=True, **options).mode == "compiled"
    else:
        with pytest.raises(ValueError, match="differs from the eager one: the gradient of 'weight'"):
            fit(Cancelling(large), {"x": torch.zeros(20)}, compile=True, **options)
