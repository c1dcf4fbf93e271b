"""What a likelihood needs of its data is found by running the model."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrogen import Story
from pyrogen.cli.data_protocol import (
    build_protocol,
    likelihood_support,
    preparation_mode,
    prepare,
    required_preparation,
)
from pyrogen.data import Columns, Splits, load
from pyrogen.distributions import DiscretizedCategorical, DiscretizedLogistic, Gaussian, SharedScaleGaussian
from pyrogen.models import PPCA, VAE, Autoencoder


class Observing(Story):
    """x from a distribution of the test's own."""

    def __init__(self, distribution, site="x", optional=True):
        super().__init__()
        self.distribution, self.site, self.optional = distribution, site, optional

    def model(self, x, n):
        assert self.optional or x is not None
        with pyro.plate("data", n, dim=-4):
            return pyro.sample(self.site, self.distribution, obs=x)

    def guide(self, x, n):
        pass


class Embedding(Observing):
    """Takes whole numbers alone, or draws."""

    def model(self, x, n):
        if x is not None:
            nn.functional.embedding(x, torch.zeros(3, 3))
        return super().model(x, n)


def splits(x, levels=None):
    columns = Columns({"x": x})
    return Splits("own", columns, columns, columns, levels=levels)


GREY = torch.tensor([0.0, 0.25, 1.0, 0.5]).reshape(4, 1, 1, 1)
BERNOULLI = dist.Bernoulli(torch.tensor(0.5))


@pytest.mark.parametrize(
    ("story", "data", "mode"),
    [
        (VAE((1, 1, 1), 2), splits(GREY, 5), "static"),
        (VAE((1, 1, 1), 2), splits(GREY), "static"),
        (VAE((1, 1, 1), 2), splits(GREY.round()), "none"),
        (VAE((1, 1, 1), 2), splits(3 * GREY), "none"),
        (VAE((1, 1, 1), 2, likelihood=Gaussian()), splits(GREY, 5), "dequantized"),
        (VAE((1, 1, 1), 2, likelihood=Gaussian()), splits(GREY), "none"),
        (VAE((1, 1, 1), 2, likelihood=SharedScaleGaussian()), splits(GREY, 5), "dequantized"),
        (VAE((1, 1, 1), 2, likelihood=DiscretizedLogistic(5)), splits(GREY, 5), "none"),
        (VAE((1, 1, 1), 2, likelihood=DiscretizedCategorical(5)), splits(GREY, 5), "none"),
        (Autoencoder((1, 1, 1), 2), splits(GREY, 5), "none"),
        (PPCA((1, 1, 1), 1), splits(GREY, 5), "dequantized"),
        (Observing(dist.Categorical(torch.ones(5))), splits(4 * GREY, 5), "none"),
        (Observing(dist.Poisson(torch.ones(()))), splits(GREY, 5), "none"),
        (Observing(dist.Beta(1.0, 1.0)), splits(GREY, 5), "dequantized"),
        (Observing(BERNOULLI, site="pixels"), splits(GREY, 5), "static"),
        (Observing(BERNOULLI, site="pixels", optional=False), splits(GREY, 5), "static"),
        (Embedding(BERNOULLI), splits(GREY, 5), "static"),
        (Embedding(BERNOULLI, optional=False), splits(GREY, 5), "none"),
    ],
)
def test_needed(story, data, mode):
    assert required_preparation(story, data) == mode


def test_data_without_x_need_nothing():
    columns = Columns({"counts": torch.ones(4)})
    assert required_preparation(Observing(BERNOULLI), Splits("own", columns, columns, columns)) == "none"


def test_finding_the_support_leaves_no_trace():
    story = VAE((1, 1, 1), 2)
    state, weights = torch.get_rng_state(), [p.clone() for p in story.parameters()]
    assert likelihood_support(story, Columns({"x": GREY})) is torch.distributions.constraints.boolean
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, was) for p, was in zip(story.parameters(), weights, strict=True))


@pytest.mark.parametrize("mode", ["static", "dynamic", "threshold", "dequantized", "none"])
def test_a_mode_survives_the_protocol(mode):
    data = prepare(load("digits"), mode)
    protocol = build_protocol(data, "digits", None)
    assert preparation_mode(protocol) == mode
    assert (protocol["source"], protocol["root"]) == ("digits", None)
    assert sum(protocol["label_frequencies"]["y"]) == 1257


def test_files_are_kept_by_their_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.npy").touch()
    (tmp_path / "Linear_Gaussian").mkdir()
    data = load("linear_gaussian")
    sources = [
        build_protocol(data, name, tmp_path)["source"] for name in ("own.npy", "Linear_Gaussian", "under/root.npy")
    ]
    assert sources == [str(tmp_path / "own.npy"), "Linear_Gaussian", "under/root.npy"]
