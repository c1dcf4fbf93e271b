"""What a story puts around the methods of its subclasses."""

import inspect

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroSample
from torch import nn

from pyrogen import Story
from tests.helpers.stories import Topics


def test_the_constructors_arguments_are_kept_with_defaults_and_the_outermost_ones():
    class Base(Story):
        def __init__(self, width, depth=2, *, names=("a",), **others):
            super().__init__()

    class Derived(Base):
        def __init__(self, size):
            super().__init__(size * 2)

    class Silent(Base):
        pass

    assert Base(3, others=1).arguments == {"width": 3, "depth": 2, "names": ("a",), "others": {"others": 1}}
    assert Derived(5).arguments == {"size": 5}
    assert Silent(7).arguments["width"] == 7


def test_wrapped_programs_keep_their_signature_and_docstring():
    story = Topics()
    assert list(inspect.signature(story.model).parameters) == ["x", "n"]
    assert story.model.__name__ == "model"


def test_a_program_runs_in_the_storys_own_store():
    class Raw(Story):
        def model(self):
            names.append(sorted(pyro.get_param_store().keys()))
            return pyro.param("loc", torch.tensor(0.0))

    names, story = [], Raw()
    with pyro.get_param_store().scope():
        pyro.param("outer", torch.ones(1))
        story.model()
        assert sorted(pyro.get_param_store().keys()) == ["outer"]
    assert names == [[]]


def test_a_random_attribute_is_drawn_once_in_a_run():
    class Random(Story):
        def __init__(self):
            super().__init__()
            self.shift = PyroSample(dist.Normal(0.0, 1.0))

        def model(self):
            return self.shift, self.shift

    first, second = Random().model()
    assert first is second


def test_lazy_parameters_get_their_shapes_without_being_announced():
    class Lazy(Story):
        def __init__(self):
            super().__init__()
            self.decoder = nn.LazyLinear(3)

        def model(self, x):
            return self.decoder(x)

    story = Lazy()
    with story.initialize_lazy():
        story.model(torch.zeros(4, 2))
    assert story.decoder.weight.shape == (3, 2)
    assert not isinstance(story.decoder.weight, nn.UninitializedParameter)
