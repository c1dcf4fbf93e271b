"""Frozen parameters, and buffers of frozen modules, do not change."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference.compile import compiled_step
from tests.helpers.stories import Topics


class Centre(nn.Module):
    """A running mean without parameters."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.mean(0), 0.5)
        return x - self.mean


class Normed(Story):
    """Batch normalization on both sides, dropout and a running mean in the guide alone."""

    def __init__(self):
        super().__init__()
        self.centre = Centre()
        self.encoder = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 3))

    def model(self, x, n):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x, n):
        mean, log_scale = self.encoder(self.centre(x)).chunk(2, -1)
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))


class Recorded(Normed):
    """The modes of the story itself, batch normalization and dropout, as the guide runs."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def guide(self, x, n):
        self.modes.append((self.training, self.encoder[1].training, self.encoder[2].training))
        super().guide(x, n)


def changed(freeze, **options):
    """The names of parameters and buffers that change in a few steps."""
    story = Normed()
    before = {name: value.clone() for name, value in story.state_dict().items()}
    fit(story, torch.randn(32, 3) + 1, steps=4, freeze=freeze, **options)
    assert all(module.training for module in story.modules())
    return {name for name, value in story.state_dict().items() if not torch.equal(value, before[name])}


CENTRE = {"centre.mean"}
NORMS = {
    part: {f"{part}.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    for part in ("encoder", "decoder")
}
ENCODER = {"encoder.0.weight", "encoder.1.weight", "encoder.1.bias", "encoder.3.weight", "encoder.3.bias"}
DECODER = {"decoder.0.weight", "decoder.1.weight", "decoder.1.bias", "decoder.2.weight", "decoder.2.bias"}
ALL = {*CENTRE, *NORMS["encoder"], *ENCODER, *NORMS["decoder"], *DECODER}


@pytest.mark.parametrize(
    ("freeze", "still"),
    [
        ("centre", CENTRE),
        ("encoder", ENCODER | NORMS["encoder"]),
        ("encoder.1", {"encoder.1.weight", "encoder.1.bias"} | NORMS["encoder"]),
        ("guide", CENTRE | ENCODER | NORMS["encoder"]),
        ("model", DECODER | NORMS["decoder"]),
        (("decoder", "centre"), CENTRE | DECODER | NORMS["decoder"]),
        ((), set()),
    ],
    ids=["a buffer alone", "a submodule", "a part of one", "guide", "model", "two", "nothing"],
)
def test_neither_parameters_nor_buffers_of_frozen_parts_change(freeze, still):
    assert changed(freeze) == ALL - still


@pytest.mark.parametrize(("freeze", "still"), [("centre", CENTRE), ("guide", CENTRE | ENCODER | NORMS["encoder"])])
def test_nor_do_they_change_in_compiled_steps(freeze, still, monkeypatch):
    monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)
    assert changed(freeze, compile=True) == ALL - still


def test_modules_without_buffers_keep_their_mode():
    story = Recorded()
    fit(story, torch.randn(32, 3), steps=1, freeze="guide", compile=False)
    assert story.modes[-1] == (True, False, True)


def test_modes_are_restored_after_a_loss_that_raises():
    story = Normed()
    story.decoder[2].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(story, torch.randn(32, 3), steps=1, freeze=["encoder", "model"])
    assert all(module.training for module in story.modules())


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"freeze: 'center' names no submodule or parameter; did you mean 'centre'"):
        fit(Normed(), torch.randn(32, 3), steps=1, freeze="center")
    with pytest.raises(ValueError, match="freeze: '' names no submodule"):
        fit(Topics(), torch.ones(5, 10), steps=1, freeze=("",))
