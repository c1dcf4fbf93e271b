"""Parameters stay a story's own: under stock SVI, `pyro.param`, copies and frozen networks."""

import copy

import pyro
import pyro.contrib.autoname
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroParam, PyroSample
from pyro.optim import Adam
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import adam
from pyrogen.story import Store
from tests.helpers.stories import Location, Topics


def name_scope(prefix):
    return pyro.contrib.autoname.scope(prefix=prefix)


def counts(n=40, words=10):
    return torch.poisson(torch.full((n, words), 2.0))


def values(story):
    return {name: p.detach().clone() for name, p in story.named_parameters()}


def moved(story, before):
    return {name for name, p in story.named_parameters() if name in before and not torch.equal(p, before[name])}


class Bayesian(Story):
    """A constrained parameter, a random attribute, and two random children of one class."""

    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)
        self.shift = PyroSample(dist.Normal(0.0, 1.0))
        self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
        self.guide = AutoNormal(self.model)

    def model(self, x, y=None, n=None):
        loc = self.first(x).squeeze(-1) + self.second(x).squeeze(-1) + self.shift
        with pyro.plate("data", n):
            return pyro.sample("y", dist.Normal(loc, self.scale), obs=y)


@pytest.mark.free_store
def test_stock_svi_trains_two_stories_of_one_class_with_a_stale_store():
    x = counts()
    for stale in ("decoder$$$weight", "decoder", "Topics.decoder.weight"):
        pyro.param(stale, torch.zeros(10, 3))
    stories = [Topics(), Topics()]
    before = [values(story) for story in stories]
    svis = [SVI(story.model, story.guide, Adam({"lr": 0.01}), Trace_ELBO()) for story in stories]
    losses = [[svi.step(x, len(x)) for svi in svis] for _ in range(60)]
    for i, story in enumerate(stories):
        assert moved(story, before[i]) == set(before[i])
        assert losses[-1][i] < losses[0][i]
    assert not torch.equal(stories[0].decoder.weight, stories[1].decoder.weight)


@pytest.mark.free_store
def test_stock_svi_trains_two_stories_with_autoguides():
    x = torch.randn(50) + 3.0
    stories = [Location(), Location()]
    svis = [SVI(s.model, s.guide, Adam({"lr": 0.05}), Trace_ELBO()) for s in stories]
    index = torch.arange(50)
    for _ in range(300):
        for svi in svis:
            svi.step(x, 50, index)
    for story in stories:
        assert abs(float(story.guide.median()["mu"]) - float(x.mean())) < 0.3
    assert stories[0].guide.locs.mu is not stories[1].guide.locs.mu


@pytest.mark.free_store
def test_a_trained_copy_leaves_the_original_alone():
    story = Topics()
    twin = copy.deepcopy(story)
    before = values(story)
    svi = SVI(twin.model, twin.guide, Adam({"lr": 0.01}), Trace_ELBO())
    svi.step(counts(), 40)
    svi.step(counts(), 40)
    assert moved(story, before) == set()
    assert moved(twin, before) == set(before)


def test_bare_calls_and_traces_leave_pyros_store_empty():
    story = Topics()
    story.model(None, 3)
    poutine.trace(story.guide).get_trace(counts(5), 5)
    Location().model(None, 4, torch.arange(4))
    assert len(pyro.get_param_store()) == 0


def test_bare_calls_do_not_read_a_stale_store():
    with pyro.get_param_store().scope():
        pyro.param("decoder$$$weight", torch.full((10, 3), 50.0))
        story = Topics()
        weight = story.decoder.weight
        story.model(None, 3)
        assert story.decoder.weight is weight


def test_constrained_and_random_attributes_train():
    x = torch.linspace(-1, 1, 60)[:, None]
    data = {"x": x, "y": 2 * x.squeeze(-1) + 1 + 0.1 * torch.randn(60)}
    story = Bayesian()
    before = values(story)
    run = fit(story, data, steps=400, optimizer=adam(0.02))
    assert moved(story, before) == set(before)
    assert float(run.story.scale.detach()) < 0.3
    # The shift and the two biases add up; the guide's own names are the model's.
    assert set(run.story.guide.median()) == {"shift"}


def test_a_parameter_made_in_the_model_belongs_to_the_story():
    class Raw(Story):
        def model(self, x, n):
            loc = pyro.param("loc", torch.tensor(0.0))
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

        def guide(self, x, n):
            pass

    stories = [Raw(), Raw()]
    for story, shift in zip(stories, (3.0, -3.0), strict=True):
        fit(story, torch.randn(200) + shift, steps=300, optimizer=adam(0.05))
    # Drawn from bare, under a trace, and through sample, each uses its own fitted parameter.
    assert stories[0].sample(500).mean() > 2.5
    assert stories[1].model(None, 500).mean() < -2.5
    assert poutine.trace(stories[0].model).get_trace(None, 500).nodes["x"]["value"].mean() > 2.5


@pytest.mark.free_store
def test_a_parameter_made_in_the_model_stays_the_storys_under_stock_svi():
    class Raw(Story):
        def model(self, x, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0), obs=x)

        def guide(self, x, n):
            pass

    first, second = Raw(), Raw()
    for story, target in ((first, 3.0), (second, -3.0)):
        svi = SVI(story.model, story.guide, Adam({"lr": 0.1}), Trace_ELBO())
        for _ in range(150):
            svi.step(torch.full((20,), target), 20)
    assert first.sample(400).mean() > 2.5
    assert second.sample(400).mean() < -2.5


def test_a_story_of_stories_trains_both():
    class Two(Story):
        def __init__(self):
            super().__init__()
            self.left, self.right = Topics(4), Topics(4)

        def model(self, x, y, n):
            with name_scope("left"):
                self.left.model(x, n)
            with name_scope("right"):
                self.right.model(y, n)

        def guide(self, x, y, n):
            with name_scope("left"):
                self.left.guide(x, n)
            with name_scope("right"):
                self.right.guide(y, n)

    story = Two()
    before = values(story)
    fit(story, {"x": counts(30, 4), "y": counts(30, 4)}, steps=3)
    assert moved(story, before) == set(before)


def test_a_frozen_parameter_of_a_story_stays_frozen():
    class Direct(Topics):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(10), requires_grad=False)

        def model(self, x, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                return pyro.sample("x", dist.Poisson((self.decoder(z) + self.shift).exp()).to_event(1), obs=x)

    story = Direct()
    story.sample(2)
    fit(story, counts(), steps=3)
    assert not story.shift.requires_grad
    assert torch.equal(story.shift, torch.zeros(10))


def test_a_network_frozen_the_pytorch_way_stays_frozen_without_a_word():
    story = Topics()
    story.encoder.requires_grad_(False)
    before = values(story)
    fit(story, counts(), validation=counts(), epochs=2)
    assert moved(story, before) == {"decoder.weight", "decoder.bias"}


def test_the_modules_that_programs_call_are_the_children_and_members_of_containers():
    class Nested(Topics):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(1, 1), nn.ModuleDict({"a": nn.Linear(2, 2)})])

    story = Nested()
    called = {story.decoder, story.encoder, story.blocks[0], story.blocks[1]["a"]}
    assert set(story.called_modules()) == called
    assert set(story.all_modules()) == called | {story, story.blocks, story.blocks[1]}


def test_the_device_is_that_of_parameters_and_buffers():
    class Empty(Story):
        pass

    assert Empty().device == torch.device("cpu")
    assert Topics().to("meta").device == torch.device("meta")
    story = Empty()
    story.register_buffer("grid", torch.ones(2, device="meta"))
    assert story.device == torch.device("meta")


def test_saved_buffers_are_those_of_the_state_dict():
    story = Topics()
    story.register_buffer("kept", torch.ones(2))
    story.register_buffer("scratch", torch.ones(2), persistent=False)
    assert set(story.saved_buffers()) == {"kept"}
    assert story.saved_buffers()["kept"] is story.kept


def test_parameters_of_another_store_are_adopted():
    class Raw(Story):
        def model(self, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))

    story = Raw()
    with pyro.get_param_store().scope():
        pyro.param("loc", torch.tensor(50.0))
        story.adopt_parameters(Store.current())
    assert story.model(100).mean() > 45
    assert float(story.trainable()["loc"].detach()) == 50.0


def test_the_scope_keeps_what_is_made_inside_and_nests():
    story = Topics()
    with story.param_store_scope(), story.param_store_scope():
        pyro.param("made", torch.ones(2))
        assert "made" in story.trainable()
    assert "made" in story.trainable()
    assert len(pyro.get_param_store()) == 0


def test_the_scope_is_left_by_an_exception_too():
    story = Topics()

    def fail():
        with story.param_store_scope():
            pyro.param("made", torch.ones(2))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert "made" in story.trainable()
    assert len(pyro.get_param_store()) == 0
    story.sample(2)
