"""New data from a story: latents from the fit or the model, columns to condition on, placeholders."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pyrogen import Story, fit
from pyrogen.inference import adam
from pyrogen.models import PPCA, MultivariateGaussian
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


def plated(size, dim=-1):
    """x ~ N(m, 1) in a plate of a fixed size."""

    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", size, dim=dim):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    def guide(x):
        pyro.sample("m", dist.Normal(pyro.param("l", torch.tensor(0.0)), 1.0))

    return model, guide


class TestNumberOfRows:
    """`sample(n)` gives n rows, or names the number that the program draws."""

    @given(st.integers(1, 8), st.integers(1, 8))
    @settings(max_examples=10, deadline=None)
    def test_a_plate_of_a_fixed_size(self, size, n):
        story = fit(plated(size), torch.randn(size), steps=1, progress=False).story
        if n == size:
            assert story.sample(n).shape == (n,)
        else:
            with pytest.raises(ValueError, match=rf"draws {size} rows of 'x' \(plate 'rows'\).*call sample\({size}\)"):
                story.sample(n)

    def test_a_fixed_number_without_a_plate(self):
        def model(x):
            pyro.sample("x", dist.Normal(pyro.param("m", torch.zeros(7)), 1.0).to_event(1), obs=x)

        story = fit((model, lambda x: None), torch.randn(7), steps=1, progress=False).story
        assert story.sample(7).shape == (7,)
        with pytest.raises(ValueError, match=r"draws 7 rows of 'x' \(no data plate\)"):
            story.sample(3)

    def test_covariates_outside_of_the_arguments(self):
        covariate = torch.randn(6)

        def model(y=None):
            with pyro.plate("data", 6):
                return pyro.sample("y", dist.Normal(covariate * pyro.param("w", torch.tensor(1.0)), 1.0), obs=y)

        story = fit((model, lambda y=None: None), {"y": torch.randn(6)}, steps=1, progress=False).story
        with pytest.raises(ValueError, match="draws 6 rows of 'y'"):
            story.sample(2)

    def test_a_default_number_without_data_is_no_fixed_one(self):
        def model(x):
            with pyro.plate("rows", 50 if x is None else len(x)):
                pyro.sample("x", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0), obs=x)

        story = fit((model, lambda x: None), torch.randn(9), steps=1, progress=False).story
        assert story.sample(3).shape == (3,)

    def test_a_plate_in_a_loop(self):
        def model(x):
            for i in pyro.plate("rows", 4):
                pyro.sample(f"x_{i}", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0), obs=x[i])

        story = fit((model, lambda x: None), torch.randn(4), steps=1, progress=False).story
        assert len(story.sample(4)) == 4
        with pytest.raises(ValueError, match="draws 4 rows"):
            story.sample(3)

    def test_rows_come_first(self):
        class Series(Story):
            """Times in the outer plate, data in the inner one."""

            def model(self, x, n):
                with pyro.plate("time", 5, dim=-2), pyro.plate("data", n, dim=-1):
                    pyro.sample("x", dist.Normal(0.0, torch.ones(2)).to_event(1), obs=None if x is None else x.mT)

            def guide(self, x, n):
                pass

        assert Series().sample(3).shape == (3, 5, 2)


class TestHints:
    """What a refusal advises is Python that works, and no column that is to be drawn."""

    @pytest.mark.parametrize("transform", ["x", "x.log1p()", "x.double().float()", "x - 1"])
    def test_the_observed_column_is_not_asked_for(self, transform):
        def model(x, c):
            with pyro.plate("data", len(x)):
                pyro.sample(
                    "y", dist.Normal(c * pyro.param("w", torch.tensor(1.0)), 1.0), obs=eval(transform, {"x": x})
                )

        story = fit(
            (model, lambda x, c: None), {"x": torch.rand(6), "c": torch.randn(6)}, steps=1, progress=False
        ).story
        with pytest.raises(ValueError, match=r"as in sample\(n, c=\.\.\.\)$"):
            story.sample(2)
        assert story.sample(2, c=torch.ones(2)).shape == (2,)

    def test_sites_that_depend_on_a_column(self):
        def model(x, lengths):
            with pyro.plate("data", len(x)):
                for t in range(int(lengths.max())):
                    with pyro.poutine.mask(mask=t < lengths):
                        pyro.sample(f"x_{t}", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0), obs=x[:, t])

        data = {"x": torch.randn(5, 4), "lengths": torch.tensor([1, 2, 3, 4, 4])}
        story = fit((model, lambda x, lengths: None), data, steps=1, progress=False).story
        with pytest.raises(ValueError, match=r"as in sample\(n, lengths=\.\.\.\)$"):
            story.sample(2)
        assert {name: len(value) for name, value in story.sample(2, lengths=2).items()} == {"x_0": 2, "x_1": 2}

    @pytest.mark.parametrize("name", ["not a name", "class", "n-1", "self"])
    def test_names_that_are_no_arguments_are_quoted(self, name):
        def model(**columns):
            with pyro.plate("data", len(columns["x"])):
                mean = columns[name] * pyro.param("w", torch.tensor(1.0))
                pyro.sample("x", dist.Normal(mean, 1.0), obs=columns["x"])

        pair = (model, lambda **columns: None)
        story = fit(pair, {"x": torch.rand(6), name: torch.rand(6)}, steps=1, progress=False).story
        with pytest.raises(ValueError, match=r"posterior_predictive\(run, data\), with data of the columns") as caught:
            story.sample(2)
        assert f"{name}=" not in str(caught.value)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("n", [2, 7, 20])
def test_the_hint_of_a_plate_that_subsamples_by_itself_is_not_refused_again(size, n):
    def model(x, y):
        slope = pyro.param("slope", torch.zeros(()))
        with pyro.plate("data", len(x), subsample_size=size) as index:
            pyro.sample("obs", dist.Normal(slope * x[index], 1.0), obs=y[index])

    x = torch.randn(20)
    run = fit((model, lambda x, y: None), {"x": x, "y": x}, steps=2, progress=False)
    with pytest.raises(ValueError, match=rf"sample\({size}, x=\.\.\.\), with {size} rows each"):
        run.story.sample(n)
    assert run.story.sample(size, x=x[:size]).shape == (size,)


@pytest.mark.parametrize("n", ["3", None, 1.5, True, [3], torch.zeros(2, 2), float("nan")])
def test_a_number_of_rows_of_another_type_is_refused(n):
    with pytest.raises(TypeError, match=r"^sample takes a whole number n of rows, got [^\n]+$"):
        PPCA(4, 2).sample(n)


@pytest.mark.parametrize("n", [10**14, 10**18])
def test_more_rows_than_the_memory_holds_are_refused(n):
    with pytest.raises(ValueError, match="do not fit in memory"):
        MultivariateGaussian(4).sample(n)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("story", [PPCA(4, 2), MultivariateGaussian(4)], ids=lambda story: story.name)
def test_what_is_drawn_cannot_be_given(story, trained):
    x = torch.randn(12, 4)
    if trained:
        fit(story, x, progress=False, **({} if "steps" in story.unsupported else {"steps": 2}))
    with pytest.raises(ValueError, match=r"sample draws 'x', which was given \(x\): leave it out"):
        story.sample(3, x=x[:3])
    assert story.sample(3).shape == (3, 4)
