"""Plates, deterministic sites and enumeration of programs; plates become named dimensions of a tree."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import to_datatree


def dims(tree, group, name):
    return tree[group][name].dims


class Panel(Story):
    """A rate for each person, an offset for each question: answers (n, 3) in two plates, either way round."""

    def __init__(self, people):
        super().__init__()
        self.people, self.questions = people, -3 - people
        self.offset = nn.Parameter(torch.zeros(3))

    def _plates(self, n):
        return pyro.plate("data", n, dim=self.people), pyro.plate("question/s", 3, dim=self.questions)

    def model(self, x, n):
        people, questions = self._plates(n)
        with people:
            rate = pyro.sample("rate", dist.Normal(0.0, 1.0))
            with questions:
                mood = pyro.sample("mood", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.deterministic("mean", rate + mood.sum(-1), event_dim=0)
                offset = self.offset if self.questions == -1 else self.offset[:, None]
                x = x if x is None or self.questions == -1 else x.T
                return pyro.sample("x", dist.Normal(rate + offset + mood.sum(-1), 1.0), obs=x)

    def guide(self, x, n):
        people, questions = self._plates(n)
        with people:
            pyro.sample("rate", dist.Normal(0.0, 1.0))
            with questions:
                pyro.sample("mood", dist.Normal(torch.zeros(2), 1.0).to_event(1))


@pytest.mark.parametrize(("people", "answers"), [(-2, ("data", "question.s")), (-1, ("question.s", "data"))])
def test_plates_become_named_dimensions(people, answers, tmp_path):
    x = torch.randn(6, 3)
    tree = to_datatree(Panel(people), {"x": x}, 4)
    assert dims(tree, "posterior", "rate") == ("chain", "draw", "data")
    assert dims(tree, "prior", "rate") == ("chain", "draw", "data")
    assert dims(tree, "posterior", "mood") == ("chain", "draw", *answers, "mood_dim_0")
    assert dims(tree, "posterior", "mean") == ("chain", "draw", *answers)
    assert dims(tree, "posterior_predictive", "x") == ("chain", "draw", *answers)
    assert dims(tree, "log_likelihood", "x") == ("chain", "draw", "data")
    seen = tree["observed_data"]["x"].transpose("data", "question.s")
    assert torch.equal(torch.from_numpy(seen.values), x)
    rate, mood = (torch.from_numpy(tree["posterior"][name].values[0]) for name in ("rate", "mood"))
    mean = rate[..., None] + (mood if people == -2 else mood.transpose(1, 2)).sum(-1)
    by_hand = dist.Normal(mean, 1.0).log_prob(x).sum(-1)
    torch.testing.assert_close(torch.from_numpy(tree["log_likelihood"]["x"].values[0]), by_hand)
    tree.to_netcdf(tmp_path / "panel.nc")


def scaled_model(x, n):
    """Deterministic sites as people write them: in the plate without event_dim, and outside."""
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    pyro.deterministic("log_scale", scale.log())
    pyro.deterministic("powers", torch.stack([scale, scale**2]))
    with pyro.plate("data", n):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = pyro.deterministic("loc", scale * z)
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def test_deterministic_sites_are_part_of_the_posterior():
    data = {"x": torch.randn(4)}
    run = fit((scaled_model, AutoNormal(scaled_model)), data, steps=1, progress=False)
    tree = to_datatree(run, data, 6)
    posterior = tree["posterior"]
    assert posterior["log_scale"].dims == ("chain", "draw")
    assert posterior["powers"].dims == ("chain", "draw", "powers_dim_0")
    assert posterior["loc"].dims == ("chain", "draw", "data")
    assert posterior["loc"].equals((posterior["scale"] * posterior["z"]).rename("loc"))
    assert set(tree["prior"].data_vars) == set(posterior.data_vars)
