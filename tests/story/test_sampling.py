"""New data from a story: latents from the fit or the model, columns to condition on, placeholders."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import adam
from pyrogen.story import Unobserved
from tests.helpers.stories import Location, Mixture, Topics


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


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least 1 row, got n=0"):
        Topics().sample(0)


def test_an_untrained_story_whose_sites_are_no_columns_is_refused():
    class Elsewhere(Story):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def model(self, x, n):
            with pyro.plate("data", n):
                pyro.sample("observation", dist.Normal(self.loc, 1.0), obs=x)

        def guide(self, x, n):
            pass

    with pytest.raises(ValueError, match=r"was not trained, and none of its sites is named as a column \(x\)"):
        Elsewhere().sample(3)
    assert fit(Elsewhere(), torch.randn(9), steps=1).story.sample(3).shape == (3,)


def test_a_global_latent_that_the_guide_draws_from_the_data_is_refused():
    class Amortized(Story):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def model(self, x, total, index):
            mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
            with pyro.plate("data", total, subsample=index):
                return pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

        def guide(self, x, total, index):
            pyro.sample("mu", dist.Normal(x.mean() * self.scale, 1.0))

    story = fit(Amortized(), torch.randn(20) + 3, steps=1).story
    with pytest.raises(ValueError, match="draws 'mu', a latent outside the data plate, from the data"):
        story.sample(5)


def test_an_observed_site_is_drawn_anew_and_others_stay():
    def model():
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(7.0))
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(7.0))

    nodes = pyro.poutine.trace(Unobserved(("x",))(model)).get_trace().nodes
    assert nodes["x"]["value"] != 7.0
    assert not nodes["x"]["is_observed"]
    assert nodes["y"]["value"] == 7.0
    assert nodes["y"]["is_observed"]
