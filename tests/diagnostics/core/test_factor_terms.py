"""Terms of `pyro.factor`: in the pointwise log-likelihood where they belong to rows, else said or refused."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import importance_weights, loo, to_datatree
from pyrogen.inference import held_out_elbo, log_likelihood, log_weights


def censored(where, plate="data"):
    """Exponential times, some of them censored: log p is -r t, else log r - r t."""

    def model(t, c):
        rate = pyro.sample("r", dist.Gamma(2.0, 1.0))
        beyond = torch.where(c, -rate * t, 0.0)
        with pyro.plate(plate, len(t)):
            if where == "alone":
                pyro.factor("all", torch.where(c, -rate * t, rate.log() - rate * t))
                return
            pyro.sample("t", dist.Exponential(rate).mask(~c), obs=t)
            if where == "inside":
                pyro.factor("beyond", beyond)
        if where == "outside":
            pyro.factor("beyond", beyond.sum())
        if where == "prior":
            pyro.factor("penalty", -rate.square())

    return model


def data(n=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"t": torch.rand(n, generator=generator) * 3, "c": torch.rand(n, generator=generator) < 0.4}


def trained(where, columns, **options):
    model = censored(where, **options)
    return fit((model, AutoNormal(model)), columns, steps=2, progress=False)


@given(st.sampled_from(["inside", "alone"]), st.sampled_from(["data", "rows"]), st.integers(2, 9))
@settings(max_examples=10, deadline=None)
def test_factors_of_rows_are_terms_of_the_log_likelihood(where, plate, n):
    columns = data(n)
    tree = to_datatree(trained(where, columns, plate=plate), columns, 5)
    terms = [torch.tensor(term.values[0]) for term in tree["log_likelihood"].data_vars.values()]
    rate, (t, c) = torch.tensor(tree["posterior"]["r"].values[0])[:, None], columns.values()
    torch.testing.assert_close(sum(terms), torch.where(c, -rate * t, rate.log() - rate * t))
    assert len(terms) == (2 if where == "inside" else 1)


def test_leaving_out_counts_them():
    """The two ways to write one likelihood give one result."""
    columns = data()
    inside, alone = (loo(trained(where, columns), columns, 200).elpd_i.values for where in ("inside", "alone"))
    assert inside == pytest.approx(alone, rel=1e-4)


def test_a_likelihood_in_one_sum_is_refused_by_row():
    columns = data()
    run = trained("outside", columns)
    tree = to_datatree(run, columns, 5)
    assert "log_likelihood" not in tree.children
    assert tree.attrs["log_likelihood"].startswith(
        "factor 'beyond' depends on the data and sits outside the data plate"
    )
    assert tree["sample_stats"]["lp"].shape == (1, 5)
    with pytest.raises(ValueError, match="factor 'beyond' depends on the data and sits outside the data plate"):
        loo(run, columns)


def test_a_term_of_the_prior_is_none_of_the_rows_and_said():
    columns = data()
    run = trained("prior", columns)
    tree = to_datatree(run, columns, 5)
    rate, (t, c) = torch.tensor(tree["posterior"]["r"].values[0]), columns.values()
    log_p_x = torch.where(c, 0.0, rate[:, None].log() - rate[:, None] * t)
    torch.testing.assert_close(torch.tensor(tree["log_likelihood"]["t"].values[0]), log_p_x)
    assert "not included: penalty" in tree["log_likelihood"].attrs["about"]
    prior = dist.Gamma(2.0, 1.0).log_prob(rate) - rate.square()
    torch.testing.assert_close(torch.tensor(tree["sample_stats"]["lp"].values[0]), prior + log_p_x.sum(1))
    assert len(loo(run, columns, 100).elpd_i) == 20


class Tilted(Story):
    """x given z ~ N(0, 1) is N(z, 1), and a factor tilts it, of each row or of all of them; or z is enumerated."""

    def __init__(self, where, discrete=False):
        super().__init__()
        self.where, self.discrete, self.means = where, discrete, nn.Parameter(torch.tensor([-1.0, 1.0]))

    def model(self, x, n):
        with pyro.plate("data", n):
            if self.discrete:
                k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
                z = self.means[k]
            else:
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            if self.where == "rows":
                pyro.factor("tilt", -((x - z) ** 2) / 2)
        if self.where == "all":
            pyro.factor("tilt", -self.means.square().sum())

    def guide(self, x, n):
        if not self.discrete:
            with pyro.plate("data", n):
                pyro.sample("z", dist.Normal(x / 2, 0.7))


def test_weights_of_rows_hold_their_factors():
    story, x = Tilted("rows"), torch.linspace(-2, 2, 5)
    z = torch.linspace(-12, 12, 20_001)[:, None]
    joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(x) - (x - z) ** 2 / 2
    exact = joint.logsumexp(0) + math.log(24 / 20_000)
    estimate = log_likelihood(story, x, 5000, seed=0)
    assert ((estimate.value - exact).abs() < 4.3 * estimate.error + 1e-4).all()


@pytest.mark.parametrize("discrete", [False, True])
def test_weights_are_refused_where_a_factor_belongs_to_no_row(discrete):
    story, x = Tilted("all", discrete), torch.randn(5)
    for ask in (log_weights, log_likelihood) if discrete else (log_weights, log_likelihood, loo):
        with pytest.raises(ValueError, match=r"'tilt' sits outside|factor 'tilt'|no datum|'tilt' to all"):
            ask(story, x)
    assert "importance" not in to_datatree(story, x, 3).children
    assert math.isfinite(held_out_elbo(story, x, 2)[0])


def test_factors_that_depend_on_an_enumerated_latent_are_summed_with_it():
    story, x = Tilted("rows", discrete=True), torch.randn(5)
    joint = dist.Normal(story.means, 1.0).log_prob(x[:, None]) - (x[:, None] - story.means) ** 2 / 2 - math.log(2)
    exact = joint.logsumexp(-1).detach()
    tree = to_datatree(story, x, 2)
    total = sum(torch.tensor(term.values[0, 0]) for term in tree["log_likelihood"].data_vars.values())
    torch.testing.assert_close(total, exact)
    torch.testing.assert_close(log_likelihood(story, x, 1).value.float(), exact)


def test_a_second_observed_site_outside_the_plate():
    class Both(Tilted):
        def model(self, x, n):
            super().model(x, n)
            pyro.sample("mean", dist.Normal(0.0, 1.0), obs=x.mean())

    with pytest.raises(ValueError, match="site 'mean' sits outside the data plate: its term belongs to all data"):
        log_weights(Both("rows"), torch.randn(4), 3)


def test_a_subsampled_plate_of_factors_alone_is_scaled():
    def model(x, total, index):
        m = pyro.sample("m", dist.Normal(0.0, 10.0))
        with pyro.plate("rows", total, subsample=index):
            pyro.factor("fit", dist.Normal(m, 1.0).log_prob(x))

    x = torch.randn(64)
    run = fit((model, AutoNormal(model)), {"x": x}, batch_size=16, steps=4, progress=False)
    assert importance_weights(run, {"x": x}, 50).log_weights.shape == (50, 1)
