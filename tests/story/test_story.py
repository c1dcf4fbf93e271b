"""A story: arguments by name, drawing, and parameters that stay its own."""

import copy

import pyro
import pyro.contrib.autoname
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroParam, PyroSample
from pyro.optim import Adam
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import adam
from tests.helpers.stories import Location, Mixture, Topics


def name_scope(prefix):
    return pyro.contrib.autoname.scope(prefix=prefix)


def counts(n=40, words=10):
    return torch.poisson(torch.full((n, words), 2.0))


def values(story):
    return {name: p.detach().clone() for name, p in story.named_parameters()}


def moved(story, before):
    return {name for name, p in story.named_parameters() if name in before and not torch.equal(p, before[name])}


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


def test_latents_outside_the_data_plate_come_from_the_fit():
    x = torch.randn(400) + 5.0
    story = Location()
    with pytest.raises(ValueError, match=r"'?mu'?.*fit it first"):
        story.sample(10)
    fit(story, x, steps=400, optimizer=adam(0.05))
    draws = torch.stack([story.sample(50) for _ in range(20)])
    assert abs(float(draws.mean()) - 5.0) < 0.4


def test_an_enumerated_latent_is_drawn_from_the_model():
    assert Mixture().sample(200).abs().mean() > 0.5


def test_several_modelled_columns_give_a_dict():
    class Two(Story):
        def model(self, x, y, n):
            with pyro.plate("data", n):
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
                pyro.sample("y", dist.Bernoulli(0.5), obs=y)

        def guide(self, x, y, n):
            pass

    assert {name: tuple(t.shape) for name, t in Two().sample(5).items()} == {"x": (5,), "y": (5,)}


def test_a_conditioned_column_must_be_given():
    class Conditional(Story):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(3, 2)

        def model(self, x, y, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(self.table(y), 0.1).to_event(1), obs=x)

        def guide(self, x, y, n):
            pass

    data = {"x": torch.randn(30, 2), "y": torch.arange(30) % 3}
    story = fit(Conditional(), data, steps=2).story
    assert story.sample(4, y=2).shape == (4, 2)
    assert torch.allclose(story.sample(200, y=torch.full((200,), 1)).mean(0), story.table.weight[1], atol=0.1)
    with pytest.raises(ValueError, match=r"sample\(n, y=\.\.\.\)"):
        story.sample(4)
    with pytest.raises(ValueError, match="has no column 'label'"):
        story.sample(4, label=2)
    with pytest.raises(ValueError, match="column 'y' has 3 rows, expected n=4"):
        story.sample(4, y=torch.tensor([0, 1, 2]))


def test_declared_lack_is_refused_with_the_reason():
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


def test_attributes_may_be_called_anything_but_what_a_story_has_itself():
    class Named(Topics):
        def __init__(self, **attributes):
            super().__init__()
            for name, value in attributes.items():
                setattr(self, name, value)

    story = Named(device="cuda", name="mine", networks=nn.ModuleList([nn.Linear(2, 2)]))
    fit(story, counts(), steps=1, freeze=["networks"])
    assert (story.device, story.name) == ("cuda", "mine")
    with pytest.raises(AttributeError, match="Named cannot set 'sample', which is a Story's own"):
        Named(sample=3)


@pytest.mark.free_store
def test_programs_inherited_from_a_plain_class_or_set_as_functions_train_under_stock_svi():
    class Told:
        def model(self, x, n):
            with pyro.plate("data", n):
                return pyro.sample("x", dist.Normal(self.loc, 1.0), obs=x)

        def guide(self, x, n):
            pass

    class Mixed(Told, Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

    class Set(Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))
            self.model = lambda x, n: Told.model(self, x, n)
            self.guide = lambda x, n: None

    for cls in (Mixed, Set):
        story = cls()
        SVI(story.model, story.guide, Adam({"lr": 0.1}), Trace_ELBO()).step(torch.ones(5), 5)
        assert float(story.loc.detach()) != 0.0
        fit(story, torch.ones(5), steps=1)
        assert story.sample(4).shape == (4,)


def test_programs_under_pyros_handlers_are_seen_through():
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


def test_a_method_and_an_attribute_of_one_role_are_refused():
    class Both(Topics):
        def __init__(self):
            super().__init__()
            self.guide = AutoNormal(self.model)

    with pytest.raises(AttributeError, match="Both has a method 'guide' already"):
        Both()


def test_a_network_frozen_the_pytorch_way_stays_frozen_without_a_word():
    story = Topics()
    story.encoder.requires_grad_(False)
    before = values(story)
    fit(story, counts(), validation=counts(), epochs=2)
    assert moved(story, before) == {"decoder.weight", "decoder.bias"}
