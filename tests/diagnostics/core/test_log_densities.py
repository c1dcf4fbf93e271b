"""Log densities of a draw: enumerated latents summed out, latents that data share, and no scales."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import to_datatree
from tests.helpers.stories import Mixture


def values(tree, group, name):
    """A variable's draws, (draws, ...), as a tensor."""
    return torch.from_numpy(tree[group][name].values[0])


def test_enumerated_latents_are_summed_out():
    story, x = Mixture(), torch.randn(6)
    tree = to_datatree(story, {"x": x}, 3)
    exact = story.log_density(x).detach().expand(3, 6)
    assert "posterior" not in tree.children
    for group, name in (("log_likelihood", "x"), ("importance", "log_p"), ("importance", "log_weight")):
        torch.testing.assert_close(values(tree, group, name), exact)
    assert tree["prior"]["k"].shape == (1, 3, 6)


def clusters(x):
    means = pyro.sample("means", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    with pyro.plate("rows", len(x)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])), infer={"enumerate": "parallel"})
        pyro.deterministic("mean", means[k], event_dim=0)
        pyro.sample("x", dist.Normal(means[k], 1.0), obs=x)


@pytest.mark.parametrize("guide", [AutoNormal, AutoDelta])
def test_enumerated_latents_under_a_shared_one_are_summed_out(guide):
    x = torch.randn(5)
    run = fit((clusters, guide(pyro.poutine.block(clusters, hide=["k"]))), {"x": x}, steps=2, progress=False)
    tree = to_datatree(run, {"x": x}, 4)
    means = values(tree, "posterior", "means")
    weighted = dist.Normal(means[:, None], 1.0).log_prob(x[:, None]) + torch.tensor([0.3, 0.7]).log()
    torch.testing.assert_close(values(tree, "log_likelihood", "x"), weighted.logsumexp(-1))
    prior = dist.Normal(0.0, 3.0).log_prob(means).sum(-1)
    torch.testing.assert_close(values(tree, "sample_stats", "lp"), weighted.logsumexp(-1).sum(-1) + prior)
    assert list(tree["posterior"].data_vars) == ["means"]  # `mean` depends on k, which has no value
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "rows")


class TwoViews(Story):
    """A hidden class moves z and shows in x and in y."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([-1.0, 2.0]))

    def model(self, x, y, n):
        with pyro.plate("data", n):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.4, 0.6])), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(self.shift[k], 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)
            pyro.sample("y", dist.Bernoulli(torch.tensor([0.2, 0.9])[k]), obs=y)

    def guide(self, x, y, n):
        with pyro.plate("data", n):
            pyro.sample("z", dist.Normal(x, 1.0))


def test_observed_sites_share_an_enumerated_latent_by_the_chain_rule():
    x, y = torch.randn(6), torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    story = TwoViews()
    tree = to_datatree(story, {"x": x, "y": y}, 3)
    z = values(tree, "posterior", "z")[..., None]
    log_k = torch.tensor([0.4, 0.6]).log() + dist.Normal(story.shift.detach(), 1.0).log_prob(z)
    log_y = dist.Bernoulli(torch.tensor([0.2, 0.9])).log_prob(y[:, None])
    torch.testing.assert_close(values(tree, "log_likelihood", "x"), dist.Normal(z[..., 0], 0.5).log_prob(x))
    log_y_given_z = (log_k + log_y).logsumexp(-1) - log_k.logsumexp(-1)
    torch.testing.assert_close(values(tree, "log_likelihood", "y"), log_y_given_z)
    joint = (log_k + log_y).logsumexp(-1) + dist.Normal(z[..., 0], 0.5).log_prob(x)
    torch.testing.assert_close(values(tree, "importance", "log_p"), joint)


def loose_model(x):
    """No plate holds the data."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=x)


def loose_guide(x):
    pyro.sample("mu", dist.Normal(0.5, 0.1))


def test_without_a_data_plate_no_datum_has_a_likelihood():
    x = torch.randn(4)
    tree = to_datatree((loose_model, loose_guide), x, 7)
    assert not {"log_likelihood", "importance"} & set(tree.children)
    mu = values(tree, "posterior", "mu")
    joint = dist.Normal(0.0, 1.0).log_prob(mu) + dist.Normal(mu[:, None], 1.0).log_prob(x).sum(-1)
    torch.testing.assert_close(values(tree, "sample_stats", "lp"), joint)
    assert tree["observed_data"]["x"].dims == ("x_dim_0",)


def test_scales_of_plates_and_handlers_are_left_out():
    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    x = torch.randn(4)
    tree = to_datatree((model, guide), x, 3)
    exact = dist.Normal(0.0, math.sqrt(2.0)).log_prob(x).expand(3, 4)
    torch.testing.assert_close(values(tree, "importance", "log_weight"), exact)


SUMMED = {"enumerate": "parallel"}


def hidden_markov(y, lengths):
    """Rows of a chain of two hidden states, each with a length of its own; its rates are shared."""
    stay = pyro.sample("stay", dist.Beta(2.0, 2.0))
    z, rows = torch.zeros(len(y), dtype=torch.long), pyro.plate("data", len(y))
    for t in pyro.markov(range(int(lengths.max()))):
        mean = pyro.sample(f"mean_{t}", dist.Normal(0.0, 1.0))
        with rows, pyro.poutine.mask(mask=t < lengths):
            probs = torch.stack([stay, 1 - stay])
            z = pyro.sample(f"z_{t}", dist.Categorical(probs[torch.stack([z, 1 - z], -1)]), infer=SUMMED)
            pyro.sample(f"y_{t}", dist.Normal(mean + z, 1.0), obs=y[:, t])


def forward(y, length, stay, means):
    """The log-likelihood of one row, by the forward algorithm."""
    log_p = torch.tensor([0.0, -math.inf])
    change = torch.stack([torch.stack([stay, 1 - stay]), torch.stack([1 - stay, stay])]).log()
    for t in range(length):
        log_p = (log_p[:, None] + change).logsumexp(0) + dist.Normal(means[t] + torch.arange(2), 1.0).log_prob(y[t])
    return log_p.logsumexp(0)


@pytest.mark.parametrize("lengths", [[3, 3, 3], [1, 3, 2], [2, 1, 2]])
def test_chains_of_hidden_states_under_shared_latents(lengths):
    lengths, y = torch.tensor(lengths), torch.randn(3, 3)
    names = ["stay", *(f"mean_{t}" for t in range(3))]
    guide = AutoNormal(pyro.poutine.block(hidden_markov, expose=names))
    data = {"y": y, "lengths": lengths}
    run = fit((hidden_markov, guide), data, steps=1, progress=False)
    tree = to_datatree(run, data, 3)
    total = sum(torch.tensor(term.values[0]) for term in tree["log_likelihood"].data_vars.values())
    stay = values(tree, "posterior", "stay")
    means = torch.stack([values(tree, "posterior", f"mean_{t}") for t in range(int(lengths.max()))], -1)
    for draw in range(3):
        exact = torch.stack([forward(y[i], int(lengths[i]), stay[draw], means[draw]) for i in range(3)])
        torch.testing.assert_close(total[draw], exact, rtol=1e-4, atol=1e-4)
