"""Programs that read Python state which changes between steps: the drop-in's losses are stock Pyro's."""

import argparse
import collections
import functools
import random
import types

import numpy as np
import pyro
import pyro.contrib.gp as gp
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from pyrogen import fit
from pyrogen.inference import SVI
from pyrogen.inference.svi import pyro_svi

pytestmark = pytest.mark.free_store
STEPS = 60
DATA = torch.linspace(-1, 4, 40)
WEIGHT, BATCH = 0.5, DATA


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(pyro_svi, "EAGER_STEPS", 3)


def likelihood(x, loc, scale=1.0):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, scale), obs=x)


def guide(*_):
    loc = pyro.param("m", torch.tensor(0.0))
    pyro.sample("loc", dist.Normal(loc, pyro.param("s", torch.tensor(0.5), constraint=dist.constraints.positive)))


def weighed(x, weight):
    with poutine.scale(scale=weight):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    likelihood(x, loc)


def early(step):
    return min(1.0, 0.1 + step / 50)


def staged(step):
    return 0.1 if step < 20 else 5.0 if step < 50 else 1.0


class Attribute:
    """A number in an attribute of the object whose methods model and guide are."""

    def __init__(self, value=early):
        self.value, self.weight, self.log = value, 0.1, []

    def before(self, step):
        self.weight = self.value(step)
        self.log.append(step)  # the program does not read it

    def model(self, x):
        weighed(x, self.weight)


class OfTheClass(Attribute):
    """A number of the class."""

    share = 0.1

    def before(self, step):
        OfTheClass.share = staged(step)

    def model(self, x):
        weighed(x, self.share)


class Shadowed(OfTheClass):
    """A number of the class that an object's own one hides from the 20th step on."""

    def before(self, step):
        if step == 20:
            self.share = 3.0

    def model(self, x):
        weighed(x, self.share)


class Slots:
    """A number in a slot."""

    __slots__ = ("weight",)

    def __init__(self):
        self.weight = 0.1

    def before(self, step):
        self.weight = staged(step)

    def model(self, x):
        weighed(x, self.weight)


class Property(Attribute):
    """A number that a property computes."""

    @property
    def share(self):
        return self.weight * 2

    def model(self, x):
        weighed(x, self.share)


class Named(Attribute):
    """A number by `getattr`."""

    def model(self, x):
        weighed(x, getattr(self, "weight"))  # noqa: B009


class Container:
    """A number in a container that is changed in place."""

    def __init__(self, make, key):
        self.held, self.key = make(), key

    def before(self, step):
        if isinstance(self.held, types.SimpleNamespace | argparse.Namespace):
            setattr(self.held, self.key, staged(step))
        else:
            self.held[self.key] = staged(step)

    def model(self, x):
        named = isinstance(self.key, str) and not isinstance(self.held, dict)
        weighed(x, float(getattr(self.held, self.key) if named else self.held[self.key]))


class Global:
    """A global number and a global batch."""

    def before(self, step):
        global WEIGHT, BATCH
        WEIGHT, BATCH = early(step), DATA + step / 10

    def model(self, _):
        weighed(BATCH, WEIGHT)


class Closure:
    """A variable of an enclosing function, read by a decorated model."""

    def __init__(self):
        weight = 0.1

        @functools.wraps(lambda x: None)
        def model(x):
            weighed(x, weight)

        def before(step):
            nonlocal weight
            weight = early(step)

        self.model, self.before = model, before


class Counter:
    """A counter that the program turns itself."""

    def __init__(self):
        calls = 0

        def model(x):
            nonlocal calls
            calls += 1
            weighed(x, min(1.0, calls / 30))

        self.model = model

    def before(self, step):
        pass


class Iterates(Counter):
    """Numbers from an iterator."""

    def __init__(self):
        numbers = iter(np.linspace(0.1, 1, 100).tolist())
        self.model = lambda x: weighed(x, next(numbers))


class OwnNoise(Counter):
    """Numbers from a generator of numpy's, or of Python's, of its own."""

    def __init__(self, generator):
        draw = generator.uniform
        self.model = lambda x: weighed(x, 0.5 + draw(0, 1))


class Flag:
    """A string and a switch that change the program's form."""

    def __init__(self):
        self.kind, self.wide = "normal", False

    def before(self, step):
        self.kind, self.wide = ("normal", "laplace")[step // 20 % 2], step > 30

    def model(self, x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        family = dist.Normal if self.kind == "normal" else dist.Laplace
        with pyro.plate("data", len(x)):
            pyro.sample("x", family(loc, 3.0 if self.wide else 1.0), obs=x)


class Optional(Flag):
    """A tensor that is there in some steps alone."""

    def before(self, step):
        self.scale = None if step % 25 < 20 else torch.tensor(2.0)

    def model(self, x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        likelihood(x, loc, 1.0 if self.scale is None else self.scale)


class Sizes(Flag):
    """Batches of other sizes in an attribute."""

    def before(self, step):
        self.batch = DATA[: 10 + step % 3]

    def model(self, _):
        likelihood(self.batch, pyro.sample("loc", dist.Normal(0.0, 1.0)))


class Array(Flag):
    """An array of numpy's that is filled in place."""

    def __init__(self):
        self.array = np.zeros(40, dtype=np.float32)

    def before(self, step):
        self.array[:] = step // 20

    def model(self, _):
        likelihood(torch.tensor(self.array), pyro.sample("loc", dist.Normal(0.0, 1.0)))


class Network(nn.Module):
    """A module's temperature, dropout, mode, a layer that is exchanged, and a hook."""

    def __init__(self, change):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Tanh())
        self.temperature, self.change = 1.0, change
        self.frozen = [nn.Linear(4, 1).requires_grad_(False) for _ in range(3)]
        self.last = self.frozen[0]

    def before(self, step):
        self.change(self, step)

    def model(self, x):
        pyro.module("first", self.first)
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        likelihood(x, loc + self.last(self.first(x[:, None]))[:, 0] / self.temperature)


def temperature(network, step):
    network.temperature = 1.0 + step / 10


def dropout(network, step):
    network.first[1].p = staged(step) / 10


def mode(network, step):
    network.train(step % 20 < 10)


def layer(network, step):
    network.last = network.frozen[step // 15 % 3]


def hook(network, step):
    if step == 25:
        network.first[0].register_forward_hook(lambda module, given, out: 2 * out)


CASES = {
    "attribute": Attribute,
    "staged": lambda: Attribute(staged),
    "whole numbers": lambda: Attribute(lambda step: 1 + step),
    "class": OfTheClass,
    "shadowed": Shadowed,
    "slot": Slots,
    "property": Property,
    "getattr": Named,
    "list": lambda: Container(lambda: [0.1, 0.2], 1),
    "dict": lambda: Container(lambda: {"weight": 0.1, "other": 2}, "weight"),
    "default dict": lambda: Container(lambda: collections.defaultdict(float), "weight"),
    "deque": lambda: Container(lambda: collections.deque([0.1, 0.2]), 0),
    "array": lambda: Container(lambda: np.array([0.1, 0.2]), 1),
    "namespace": lambda: Container(lambda: types.SimpleNamespace(weight=0.1), "weight"),
    "arguments": lambda: Container(lambda: argparse.Namespace(weight=0.1), "weight"),
    "global": Global,
    "closure": Closure,
    "counter": Counter,
    "iterator": Iterates,
    "numpy's generator": lambda: OwnNoise(np.random.default_rng(1)),
    "Python's generator": lambda: OwnNoise(random.Random(1)),
    "flag": Flag,
    "optional": Optional,
    "sizes": Sizes,
    "array in place": Array,
    **{each.__name__: functools.partial(Network, each) for each in (temperature, dropout, mode, layer, hook)},
}


def losses(kind, make):
    with pyro.get_param_store().scope():
        pyro.set_rng_seed(1)
        program = make()
        loop = kind(program.model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        found = []
        for step in range(STEPS):
            program.before(step)
            found.append(loop.step(DATA))
        return found, loop


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_stock_pyro(name):
    (mine, loop), (theirs, _) = (losses(kind, CASES[name]) for kind in (SVI, pyro.infer.SVI))
    assert mine == pytest.approx(theirs, rel=1e-5)
    stays_eager = name in ("counter", "iterator", "numpy's generator", "Python's generator")
    assert loop.mode == ("eager" if stays_eager else "traced"), loop.reason
    assert bool(loop.reason) is stays_eager or name in ("mode", "optional", "sizes", "getattr")


@pytest.mark.parametrize("weight", [early, staged, lambda step: 1 + step])
def test_losses_are_those_of_stock_pyro_where_an_argument_changes(weight):
    found = []
    for kind in (SVI, pyro.infer.SVI):
        with pyro.get_param_store().scope():
            pyro.set_rng_seed(1)
            loop = kind(weighed, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
            found.append([loop.step(DATA, weight(step)) for step in range(STEPS)])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("every", [1, 20])
def test_new_data_of_a_gaussian_process(every):
    found = []
    for kind in (SVI, pyro.infer.SVI):
        with pyro.get_param_store().scope():
            pyro.set_rng_seed(1)
            kernel = gp.kernels.RBF(input_dim=1)
            model = gp.models.SparseGPRegression(DATA, DATA.sin(), kernel, Xu=torch.linspace(0, 3, 5))
            loop = kind(model.model, model.guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
            found.append([])
            for step in range(STEPS):
                if step % every == 0:
                    model.set_data(DATA + step / 50, (DATA + step / 50).sin())
                found[-1].append(loop.step())
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*requires_grad=False")
def test_a_parameter_that_is_frozen_on_the_way_stays():
    found = []
    for kind in (SVI, pyro.infer.SVI):
        with pyro.get_param_store().scope():
            pyro.set_rng_seed(1)
            network = Network(lambda *_: None)
            loop = kind(network.model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
            for step in range(40):
                network.first[0].weight.requires_grad_(step < 20)
                loop.step(DATA)
            found.append(network.first[0].weight.detach().clone())
    assert torch.allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("name", ["attribute", "staged", "list", "closure", "counter", "flag", "temperature"])
def test_fit_takes_the_steps_of_eager_ones(name):
    found = []
    for compile in ("auto", False):
        torch.manual_seed(1)
        program = CASES[name]()

        def before(_, record, program=program):
            program.before(record["step"])

        run = fit((program.model, guide), {"x": DATA}, steps=70, compile=compile, callbacks=[before], progress=False)
        found.append([record["train_elbo"] for record in run.history])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
