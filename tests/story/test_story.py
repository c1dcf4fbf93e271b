"""A story: its constructor's arguments, its programs, what it declares, and names that are refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
from pyro.optim import Adam
from torch import nn

from pyrogen import Story, fit
from pyrogen.models import VAE
from pyrogen.story import Labelled
from tests.helpers.stories import Topics


def counts(n=40, words=10):
    return torch.poisson(torch.full((n, words), 2.0))


def test_draws_without_data_and_keeps_the_constructors_arguments():
    story = Topics(words=7)
    assert story.sample(4).shape == (4, 7)
    assert story.arguments == {"words": 7, "themes": 3}


def test_stays_an_ordinary_pyro_program():
    story = Topics()
    trace = poutine.trace(story.model).get_trace(None, 5)
    assert trace.nodes["z"]["value"].shape == (5, 3)
    draws = Predictive(story.model, num_samples=6)(None, 5)
    assert draws["x"].shape == (6, 5, 10)
    assert set(story.state_dict()) == {"decoder.weight", "decoder.bias", "encoder.weight", "encoder.bias"}


def test_what_is_declared_unsupported_is_refused_with_the_reason():
    class Silent(Topics):
        unsupported = {"sample": "it only listens"}

    with pytest.raises(ValueError, match="Silent has no sample: it only listens"):
        Silent().sample(3)


def test_dropout_is_off_while_drawing_and_modes_come_back():
    class Dropped(Topics):
        def __init__(self):
            super().__init__()
            self.decoder = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 10))
            self.decoder.in_features = 3
            self.decoder[0].eval()

    story = Dropped()
    story.sample(3)
    assert story.training
    assert not story.decoder[0].training


def test_a_story_without_a_guide_is_refused_with_the_remedy():
    class Half(Story):
        def model(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(TypeError, match=r"Half defines no guide: .*AutoNormal\(self.model\)"):
        fit(Half(), torch.randn(5))


class Named(Topics):
    """A story with attributes of its own."""

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def test_attributes_may_be_called_anything_but_what_a_story_has_itself():
    story = Named(networks=nn.ModuleList([nn.Linear(2, 2)]), home=3, columns=2)
    fit(story, counts(), steps=1, freeze=["networks"])
    assert (story.home, story.columns) == (3, 2)
    for method in ("sample", "param_store_scope", "trainable"):
        with pytest.raises(AttributeError, match=f"Named cannot set '{method}', which is a method of Story"):
            Named(**{method: 3})


@pytest.mark.parametrize("name", ["name", "device"])
@pytest.mark.parametrize(
    "value",
    [
        "mine",
        nn.Parameter(torch.zeros(2)),
        torch.zeros(2),
        nn.Linear(2, 2),
        PyroModule("inner"),
        PyroParam(torch.ones(2), dist.constraints.positive),
        PyroSample(dist.Normal(0.0, 1.0)),
    ],
    ids=["text", "parameter", "tensor", "module", "pyro_module", "pyro_param", "pyro_sample"],
)
def test_an_attribute_that_hides_a_property_is_refused(name, value):
    with pytest.raises(
        AttributeError, match=rf"^Named cannot set '{name}': Story\.{name} is a read-only property"
    ) as caught:
        Named(**{name: value})
    assert "use another name" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["name", "device"])
@pytest.mark.parametrize(
    "register",
    [
        lambda story, name: story.register_buffer(name, torch.zeros(2)),
        lambda story, name: story.register_parameter(name, nn.Parameter(torch.zeros(2))),
        lambda story, name: story.add_module(name, nn.Linear(2, 2)),
    ],
    ids=["buffer", "parameter", "module"],
)
def test_what_pytorch_registers_does_not_hide_a_property(name, register):
    story = Topics()
    with pytest.raises(KeyError, match=f"attribute '{name}' already exists"):
        register(story, name)
    assert story.name == "Topics"
    assert story.device == torch.device("cpu")


@pytest.mark.parametrize("base", [Story, Topics, Labelled, VAE])
@pytest.mark.parametrize("name", ["name", "device"])
def test_a_class_attribute_that_hides_a_property_is_refused_and_a_property_is_not(base, name):
    with pytest.raises(TypeError, match=rf"^Mine\.{name}: Story\.{name} is a read-only property: use another name$"):
        type("Mine", (base,), {name: "cuda"})
    with pytest.raises(TypeError, match=f"Story.{name} is a read-only property"):
        type("Mine", (base,), {name: lambda self: "cuda"})
    with pytest.raises(TypeError, match=f"Story.{name} is a read-only property"):
        type("Mine", (type("Mixin", (), {name: "cuda"}), base), {})
    assert isinstance(getattr(type("Mine", (base,), {name: property(lambda self: "mine")}), name), property)


def test_a_property_with_a_setter_may_be_set():
    class Titled(Topics):
        @property
        def name(self):
            return self.__dict__.get("title", "untitled")

        @name.setter
        def name(self, value):
            self.__dict__["title"] = value

    story = Titled()
    assert story.name == "untitled"
    story.name = "mine"
    assert story.name == "mine"


@pytest.mark.parametrize("base", [Story, Topics, Labelled, VAE])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("without", "unsupported"),
        ("decline", "require"),
        ("home", "param_store_scope"),
        ("shaping", "initialize_lazy"),
    ],
)
def test_a_subclass_that_defines_a_former_name_is_refused_with_the_new_one(base, old, new):
    for value in ({"sample": "it only listens"}, lambda self: None, None):
        with pytest.raises(TypeError, match=rf"^Mine\.{old}: Story\.{old} is now called {new}: rename it$"):
            type("Mine", (base,), {old: value})
    with pytest.raises(TypeError, match=f"is now called {new}"):
        type("Mine", (type("Mixin", (), {old: {}}), base), {})


def test_an_attribute_by_the_former_name_of_unsupported_is_refused():
    with pytest.raises(AttributeError, match=r"^Named\.without: Story\.without is now called unsupported: rename it$"):
        Named(without={"sample": "it only listens"})
    with pytest.raises(ValueError, match="Named has no sample: it only listens"):
        Named(unsupported={"sample": "it only listens"}).sample(3)


@pytest.mark.free_store
def test_programs_inherited_from_a_plain_class_or_set_as_functions_train_under_stock_svi():
    class Programs:
        def model(self, x, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(self.loc, 1.0), obs=x)

        def guide(self, x, n):
            pass

    class Mixed(Programs, Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

    class Set(Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))
            self.model = lambda x, n: Programs.model(self, x, n)
            self.guide = lambda x, n: None

    for cls in (Mixed, Set):
        story = cls()
        SVI(story.model, story.guide, Adam({"lr": 0.1}), Trace_ELBO()).step(torch.ones(5), 5)
        assert float(story.loc.detach()) != 0.0
        fit(story, torch.ones(5), steps=1)
        assert story.sample(4).shape == (4,)


def test_programs_under_pyros_handlers_are_unwrapped():
    class Scaled(Topics):
        @poutine.scale(scale=0.5)
        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                return pyro.sample("x", dist.Poisson(self.decoder(z).exp()).to_event(1), obs=x)

    assert len(fit(Scaled(), counts(), epochs=1).history) == 1

    @poutine.scale(scale=2.0)
    def model(x, n):
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0), obs=x)

    fit((model, lambda x: None), torch.ones(4), steps=1)


def test_a_method_and_an_attribute_of_one_role_are_refused():
    class Both(Topics):
        def __init__(self):
            super().__init__()
            self.guide = AutoNormal(self.model)

    with pytest.raises(AttributeError, match="Both has a method 'guide' already"):
        Both()
