"""Several fits from initial values that are far apart."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyrogen import fit
from pyrogen.diagnostics import compare_starts
from pyrogen.inference import adam, cosine, fit_restarts
from pyrogen.inference.restarts import restart_folder, restarts_in
from pyrogen.models import PPCA


def squared(y):
    t = pyro.sample("t", dist.Normal(0.3, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(t**2, 0.5), obs=y)


def labelled(y):
    with pyro.plate("components", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(loc, 0.5)), obs=y)


def options(steps):
    return {"steps": steps, "optimizer": adam(0.05), "schedule": cosine(steps), "progress": False}


@pytest.mark.parametrize("make", [AutoNormal, AutoMultivariateNormal])
@pytest.mark.parametrize("first", [0, 100])
def test_both_modes_are_found(make, first):
    y = 1.2 + 0.5 * torch.randn(20, generator=torch.Generator().manual_seed(first))
    fits = fit_restarts(lambda: (squared, make(squared)), {"y": y}, 4, seed=first, **options(200))
    means = compare_starts(fits, {"y": y}, 100).means[:, 0]
    assert means.min() < -0.5 < 0.5 < means.max()


def test_labels_that_switch_are_one_mode():
    y = torch.cat([torch.randn(30) * 0.5 - 3, torch.randn(30) * 0.5 + 3])
    fits = fit_restarts(lambda: (labelled, AutoNormal(labelled)), {"y": y}, 3, **options(400))
    starts = compare_starts(fits, {"y": y}, 200)
    assert float(starts.distances.max()) > 5
    assert float(starts.relabelled.max()) < 0.5


def test_the_first_fit_is_the_one_alone():
    y = torch.randn(20)
    one = fit((squared, AutoNormal(squared)), {"y": y}, seed=3, **options(20))
    first, _ = fit_restarts(lambda: (squared, AutoNormal(squared)), {"y": y}, 2, seed=3, **options(20))
    assert first.history[-1]["train_elbo"] == pytest.approx(one.history[-1]["train_elbo"])


def test_runs_are_kept_and_resumed(tmp_path):
    x = torch.randn(32, 3)
    given = {"steps": 4, "batch_size": 8, "out": tmp_path, "progress": False}
    fits = fit_restarts(lambda: PPCA(3, latent=1), x, 2, **given)
    assert restarts_in(tmp_path) == [restart_folder(tmp_path, 1)]
    again = fit_restarts(lambda: PPCA(3, latent=1), x, 3, resume=True, **given)
    assert [run.history[-1]["train_elbo"] for run in again[:2]] == [run.history[-1]["train_elbo"] for run in fits]
    assert len(restarts_in(tmp_path)) == 2


def test_bad_restarts_are_refused():
    with pytest.raises(ValueError, match="restarts must be at least 1, got 0"):
        fit_restarts(lambda: PPCA(3, latent=1), torch.randn(8, 3), 0)
    story = PPCA(3, latent=1)
    with pytest.raises(ValueError, match="build gave the same story twice"):
        fit_restarts(lambda: story, torch.randn(8, 3), 2, steps=1, progress=False)
