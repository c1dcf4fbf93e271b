"""Device correctness without a device: losses and samples of every story on fake CUDA tensors, and planted mistakes."""

import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrogen import Story
from pyrogen.catalog import CATALOG
from pyrogen.distributions import DiagonalNormal
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO
from pyrogen.inference.program.program import Program
from pyrogen.models import VAE
from pyrogen.story import Batch
from tests.helpers.fake_cuda import fake_cuda, move, on_device

# What asks for values or for a driver, which fake tensors do not have.
NO_LOSS = {
    "autoencoder": "differentiates inside its loss, for which autograd asks for a driver",
    "sequence_vae": "its recurrent network asks cuDNN for a driver",
}
NO_SAMPLE = {
    "conditional_vae": "checks the values of the labels",
    "conditional_gan": "checks the values of the labels",
    "diffusion": "checks the values of the labels",
    "sequence_vae": "its recurrent network asks cuDNN for a driver",
    "language_model": "ends where it draws the end of a text",
    "bayesian_ppca": "has latents that training makes: fit it first",
    "classifier": "does not model x",
}
NO_VALUES = "driver|_local_scalar_dense|nonzero|valid device index|fit it first|does not model x"
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


def loss_of(story, data, objective=None, n=96, arguments=None, step=0):
    """The loss of a batch of fake rows."""
    columns = {key: on_device(column) for key, column in data.items()}
    program = Program(story, arguments)
    batch = program.at_step(Batch(columns, n, n, torch.empty(n, dtype=torch.long)), step)
    with story.param_store_scope():
        return (objective or Trace_ELBO()).differentiable_loss(program.model, program.guide, batch)


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_storys_loss_stays_on_its_device(name):
    story, data = CATALOG[name].tiny()
    if {"steps", "svi"} & set(story.unsupported):
        pytest.skip(reason=f"{name} takes no steps of SVI")
    with fake_cuda():
        move(story)
        if name in NO_LOSS:
            with pytest.raises(RuntimeError, match=NO_VALUES):
                loss_of(story, data)
        else:
            assert loss_of(story, data).device.type == "cuda"


@pytest.mark.parametrize("make", [TemperedELBO, lambda: ImportanceWeightedELBO(3)], ids=["tempered", "weighted"])
@pytest.mark.parametrize("name", ["vae", "ppca", "flow", "hierarchical_vae"])
def test_objectives_stay_on_the_device(name, make):
    story, data = CATALOG[name].tiny()
    with fake_cuda():
        assert loss_of(move(story), data, make()).device.type == "cuda"


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_samples_are_made_on_the_device(name):
    story, data = CATALOG[name].tiny()
    if "sample" in story.unsupported:
        pytest.skip(reason=f"{name} does not sample")
    columns = story.signatures()[0].columns
    with fake_cuda():
        move(story)
        given = {key: on_device(column[:5]) for key, column in data.items() if key in columns and key != "x"}
        if name in NO_SAMPLE:
            with pytest.raises(Exception, match=NO_VALUES):
                story.sample(5, **given)
            return
        draws = story.sample(5, **given)
    for draw in draws.values() if isinstance(draws, dict) else [draws]:
        assert draw.device.type == "cuda"


class Points(Story):
    """A point with a latent, each part of which a mistake replaces by one with a tensor of the host."""

    def __init__(self, **parts):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        self.register_buffer("shift", torch.zeros(3))
        self.parts = parts

    def part(self, name, value):
        return self.parts[name]() if name in self.parts else value

    def prior(self):
        return dist.Normal(self.part("prior", torch.zeros(3)), 1.0).to_event(1)

    def model(self, x, n, weight=1.0):
        with pyro.plate("data", n), pyro.poutine.scale(scale=weight):
            z = pyro.sample("z", self.prior())
            mean = z * self.loc + self.part("model", self.shift)
            pyro.sample("x", dist.Normal(mean, self.part("scale", torch.ones(3))).to_event(1), obs=x)

    def guide(self, x, n):
        with pyro.plate("data", n):
            hidden = x @ self.part("encoder", torch.zeros(3, 3))
            pyro.sample("z", dist.Normal(hidden, self.part("guide", self.scale.exp())).to_event(1))


def host(*shape):
    return lambda: torch.ones(shape, device="cpu")


MISTAKES = {
    "model": lambda: loss_of(move(Points(model=host(3))), POINTS),
    "guide": lambda: loss_of(move(Points(guide=host(3))), POINTS),
    "prior": lambda: loss_of(move(Points(prior=host(3))), POINTS),
    "likelihood": lambda: loss_of(move(Points(scale=host(3))), POINTS),
    "encoder": lambda: loss_of(move(Points(encoder=host(3, 3))), POINTS),
    "buffer that is none": lambda: loss_of(with_attribute(move(Points())), POINTS),
    "schedule": lambda: loss_of(move(Points()), POINTS, arguments={"weight": lambda step: torch.ones(1, device="cpu")}),
    "objective": lambda: loss_of(move(Points()), POINTS, host_weight(TemperedELBO())),
    "decode": lambda: with_layer(move(VAE((3,), 2, hidden=(4,)))).decode(torch.zeros(5, 2)),
    "network": lambda: loss_of(with_layer(move(VAE((3,), 2, hidden=(4,)))), POINTS),
    "posterior": lambda: loss_of(move(VAE((3,), 2, hidden=(4,), posterior=HostPosterior())), POINTS),
    "sample": lambda: Points(prior=host(3)).sample(4),
}
POINTS = {"x": torch.zeros(96, 3)}


def with_attribute(story):
    story.parts["model"] = lambda: story.shift_on_the_host
    story.shift_on_the_host = torch.ones(3, device="cpu")
    return story


def with_layer(story):
    story.decoder.insert(0, Shift()) if isinstance(story.decoder, nn.Sequential) else setattr(
        story, "decoder", nn.Sequential(Shift(), story.decoder)
    )
    return story


class Shift(nn.Module):
    def forward(self, z):
        return z + torch.ones(z.shape[-1], device="cpu")


class HostPosterior(DiagonalNormal):
    def __call__(self, outputs, event_shape):
        return super().__call__(outputs + torch.ones(outputs.shape[-1], device="cpu"), event_shape)


def host_weight(objective):
    objective.weight = torch.ones(1, device="cpu")
    return objective


@pytest.mark.parametrize("where", MISTAKES)
def test_a_planted_mistake_is_caught(where):
    with fake_cuda():
        if where == "sample":
            story = move(Points(prior=host(3)))
            story.training_spec = None
        with pytest.raises(Exception, match=r"(?i)device|cpu") as caught:
            MISTAKES[where]()
    assert re.search("cuda|cpu|device", str(caught.value))


def test_without_a_mistake_nothing_is_caught():
    with fake_cuda():
        assert loss_of(move(Points()), POINTS).device.type == "cuda"
        assert move(VAE((3,), 2, hidden=(4,))).decode(torch.zeros(5, 2)).mean.device.type == "cuda"
