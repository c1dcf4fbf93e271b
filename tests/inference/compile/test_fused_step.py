"""Steps of small models on whole data: many in one call, equal to single ones."""

import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story
from pyrogen.inference.compile.fused_step import FusedStep
from tests.helpers.compiled_runs import agree, counts, run
from tests.helpers.stories import Topics


def step_by_step(fit, record):
    """A callback is called after every epoch, so that the steps of whole data are taken one at a time."""


def count_steps_per_call(monkeypatch):
    """How many steps each call of `FusedStep.run_steps` took, filled in as it is called."""
    numbers, run_steps = [], FusedStep.run_steps

    def counted(self, batch, max_steps):
        losses = run_steps(self, batch, max_steps)
        numbers.append(len(losses))
        return losses

    monkeypatch.setattr(FusedStep, "run_steps", counted)
    monkeypatch.setattr("pyrogen.inference.compile.fused_step.MAX_SECONDS_PER_CALL", 600.0)
    return numbers


def test_steps_on_whole_data_run_many_per_call_and_are_equal_to_the_bit(monkeypatch, tmp_path):
    options = {"batch_size": 60, "ema": 0.9, "clip_norm": 1.0, "steps": None}
    single = run(Topics, counts, True, epochs=400, callbacks=[step_by_step], **options)
    numbers = count_steps_per_call(monkeypatch)
    whole = run(Topics, counts, True, epochs=400, out=tmp_path / "whole", **options)
    assert max(numbers) == 100
    assert sum(numbers) > 380
    assert len(numbers) < 30
    run(Topics, counts, True, epochs=137, out=tmp_path / "parts", **options)
    parts = run(Topics, counts, True, epochs=400, out=tmp_path / "parts", resume=True, **options)
    records = [json.loads(line) for line in (tmp_path / "parts" / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [*range(1, 401)]
    for other in (single, parts):
        for mine, theirs in zip(whole.history, other.history, strict=True):
            assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
        for name, value in whole.story.state_dict().items():
            assert torch.equal(value, other.story.state_dict()[name]), name


class Strays(Story):
    """The scale of x stops being a number once the parameter is past 0.3."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Parameter(torch.zeros(()))

    def model(self, x, n):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", n):
            scale = (0.3 - self.middle.detach()).sqrt()
            pyro.sample("x", dist.Normal(self.middle + 0.1 * z, scale, validate_args=False), obs=x)

    def guide(self, x, n):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def test_a_loss_that_is_not_finite_within_a_call_stops_at_its_step(monkeypatch, tmp_path):
    messages, stories, histories = [], [], []
    for how, callbacks in (("one", [step_by_step]), ("many", [])):
        numbers = count_steps_per_call(monkeypatch)
        stories.append(Strays())
        options = {"steps": 200, "callbacks": callbacks, "out": tmp_path / how}
        with pytest.raises(FloatingPointError, match="site 'x'") as caught:
            run(lambda: stories[-1], lambda: torch.full((20,), 5.0), True, **options)
        messages.append(str(caught.value))
        records = [json.loads(line) for line in (tmp_path / how / "history.jsonl").read_text().splitlines()]
        histories.append([{**record, "seconds": 0} for record in records])
    assert max(numbers) > 1
    assert messages[0] == messages[1]
    assert histories[0] == histories[1]
    assert torch.equal(stories[0].middle, stories[1].middle)


def test_a_call_of_slow_steps_ends_in_time(monkeypatch):
    numbers = count_steps_per_call(monkeypatch)
    monkeypatch.setattr("pyrogen.inference.compile.fused_step.MAX_SECONDS_PER_CALL", 1e-9)
    run(Topics, counts, True, batch_size=60, steps=None, epochs=40)
    assert set(numbers) <= {0, 1}
    assert sum(numbers) > 30


def test_parameters_whose_storage_a_callback_replaces_keep_training():
    def bound(fit, record):
        for parameter in fit.story.parameters():
            parameter.data = parameter.data.clamp(-0.3, 0.3)

    eager, fast = (run(Topics, counts, c, steps=None, epochs=6, callbacks=[bound]) for c in (False, True))
    assert fast.mode == "compiled"
    agree(fast, eager)


def test_parameters_own_their_storage_after_training():
    story = run(Topics, counts, True).story
    assert {p.untyped_storage().nbytes() for p in story.parameters()} == {
        p.numel() * p.element_size() for p in story.parameters()
    }
