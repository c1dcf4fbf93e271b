"""The export to ArviZ: dimensions, names, attributes, round trips, and its refusals."""

import importlib.metadata
import json
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import nn

from pyrogen import Story, fit
from pyrogen.diagnostics import GROUPS, to_datatree, to_inference_data
from pyrogen.models import PPCA
from tests.helpers.statistics import assert_within
from tests.helpers.stories import Location, Topics, coin_guide, coin_model, schools, schools_model


@pytest.fixture
def tree():
    """PPCA with its exact guide on five data of four features."""
    x = torch.randn(5, 4)
    return to_datatree(PPCA(4, 2).maximum_likelihood(x), {"x": x}, 30)


def dims(tree, group, name):
    return tree[group][name].dims


def test_a_local_story_has_every_group_but_sample_stats_and_constants(tree):
    assert list(tree.children) == [g for g in GROUPS if g not in ("sample_stats", "constant_data")]
    for group in ("posterior", "prior"):
        assert dims(tree, group, "z") == ("chain", "draw", "data", "z_dim_0")
        assert tree[group]["z"].shape == (1, 30, 5, 2)
    for group in ("posterior_predictive", "prior_predictive"):
        assert dims(tree, group, "x") == ("chain", "draw", "data", "x_dim_0")
    assert dims(tree, "log_likelihood", "x") == ("chain", "draw", "data")
    assert dims(tree, "observed_data", "x") == ("data", "x_dim_0")
    assert {*tree["importance"].data_vars} == {"log_p", "log_q", "log_weight"}
    assert dims(tree, "importance", "log_weight") == ("chain", "draw", "data")
    assert dims(tree, "importance_summary", "elbo") == ("data",)
    assert tree["posterior"]["data"].values.tolist() == [0, 1, 2, 3, 4]
    assert tree["posterior"]["draw"].values.tolist() == list(range(30))


def test_a_tree_describes_its_origin():
    splits = {"x": torch.randn(6, 4)}
    run = fit(PPCA(4, 2, guide="meanfield"), splits, epochs=1, progress=False)
    run.config["data"]["protocol"] = {"data": "noise", "seed": 3}
    attributes = to_datatree(run, splits, 2, seed=7).attrs
    assert attributes["story"] == "pyrogen.models.PPCA"
    assert json.loads(attributes["story_arguments"]) == {"features": 4, "latent": 2, "guide": "meanfield"}
    assert (attributes["guide"], attributes["seed"], attributes["num_samples"]) == ("PPCA.guide", 7, 2)
    assert json.loads(attributes["protocol"]) == {"data": "noise", "seed": 3}
    assert json.loads(attributes["versions"])["torch"] == torch.__version__.split("+")[0]


def test_netcdf_gives_back_the_same_tree(tree, tmp_path):
    import xarray

    tree.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
    with xarray.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as read:
        xarray.testing.assert_identical(read.load(), tree)


def test_arviz_reads_the_tree(tree):
    import arviz_stats

    summary = arviz_stats.summary(tree, kind="stats")
    assert list(summary.index) == [f"z[{i}, {k}]" for i in range(5) for k in range(2)]


@pytest.mark.skipif(not importlib.metadata.version("arviz").startswith("0."), reason="the bridge is for arviz 0.x")
def test_the_bridge_leads_to_arviz_0(tree):
    import arviz

    bridged = to_inference_data(tree)
    assert set(bridged.groups()) == set(tree.children)
    assert bridged.posterior["z"].equals(tree["posterior"]["z"])
    assert bridged.attrs == tree.attrs
    assert len(arviz.summary(bridged, kind="stats")) == 10


def test_the_bridge_is_refused_on_arviz_1(tree, monkeypatch):
    monkeypatch.setattr("arviz.__version__", "1.3.0")
    with pytest.raises(ValueError, match=r"arviz 1\.3\.0 has no InferenceData: .* the DataTree itself"):
        to_inference_data(tree)


def test_eight_schools_with_an_autoguide():
    import arviz_stats

    run = fit((schools_model, AutoNormal(schools_model)), schools(), steps=20, progress=False)
    tree = to_datatree(run, schools(), 50, coords={"schools": list("ABCDEFGH")})
    assert list(tree["posterior"].data_vars) == ["mu", "tau", "theta"]  # and none of the guide's own sites
    assert dims(tree, "posterior", "mu") == ("chain", "draw")
    assert dims(tree, "posterior", "theta") == ("chain", "draw", "schools")
    assert "".join(tree["posterior"]["schools"].values) == "ABCDEFGH"
    assert dims(tree, "log_likelihood", "obs") == ("chain", "draw", "schools")
    assert tree["observed_data"]["obs"].values.tolist() == schools()["y"].tolist()
    assert tree["constant_data"]["sigma"].dims == ("schools",)
    assert "importance" not in tree.children
    assert set(tree["sample_stats"].data_vars) == {"lp", "log_q"}
    assert (tree.attrs["story"], tree.attrs["guide"]) == ("(schools_model, AutoNormal)", "AutoNormal")
    assert len(arviz_stats.summary(tree, kind="stats")) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so short a run may have large Pareto shapes
        assert arviz_stats.loo(tree).n_data_points == 8


def test_unnamed_columns_take_the_names_of_the_parameters():
    run = fit((schools_model, AutoNormal(schools_model)), (schools()["sigma"], schools()["y"]), steps=1, progress=False)
    tree = to_datatree(run, (schools()["sigma"], schools()["y"]), 3)
    assert list(tree["constant_data"].data_vars) == ["sigma"]


def test_the_auxiliary_site_of_a_joint_autoguide_is_no_variable():
    run = fit((schools_model, AutoMultivariateNormal(schools_model)), schools(), steps=1, progress=False)
    assert set(to_datatree(run, schools(), 3)["posterior"].data_vars) == {"mu", "tau", "theta"}


def test_event_dimensions_and_labels_can_be_named():
    x = torch.randn(3, 4).abs()
    tree = to_datatree(Topics(4, 2), {"x": x.round()}, 5, dims={"z": ["theme"]}, coords={"theme": ["sea", "sky"]})
    assert dims(tree, "prior", "z") == ("chain", "draw", "data", "theme")
    assert tree["posterior"]["theme"].values.tolist() == ["sea", "sky"]


def test_groups_can_be_chosen(tree):
    x = torch.randn(5, 4)
    story = PPCA(4, 2).maximum_likelihood(x)
    assert list(to_datatree(story, x, 3, groups=["importance_summary"]).children) == ["importance_summary"]
    assert list(to_datatree(story, x, 3, groups=["observed_data", "posterior"]).children) == [
        "posterior",
        "observed_data",
    ]
    assert list(to_datatree(story, x, 3, groups=["observed_data"]).children) == ["observed_data"]


def test_draws_come_from_the_seed_alone():
    x, story = torch.randn(5, 4), PPCA(4, 2)
    state = torch.get_rng_state()
    first, again, other = (to_datatree(story, x, 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first["posterior"]["z"].equals(again["posterior"]["z"])
    assert not first["posterior"]["z"].equals(other["posterior"]["z"])


def test_columns_that_a_story_conditions_on_are_constant_data():
    class Line(Story):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.ones(()))

        def model(self, t, weight, y, n):
            with pyro.plate("data", n):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("out", dist.Normal(self.slope * t + z, weight[:, 0]), obs=y)

        def guide(self, t, weight, y, n):
            with pyro.plate("data", n):
                pyro.sample("z", dist.Normal(t, 1.0))

    data = {"t": torch.arange(4.0), "weight": torch.ones(4, 2), "y": torch.randn(4), "unused": torch.zeros(4)}
    tree = to_datatree(Line(), data, 9)
    assert set(tree["constant_data"].data_vars) == {"t", "weight"}
    assert tree["constant_data"]["weight"].dims == ("data", "weight_dim_0")
    assert tree["constant_data"]["t"].values.tolist() == [0, 1, 2, 3]
    assert list(tree["observed_data"].data_vars) == ["out"]


@pytest.mark.free_store
def test_a_pair_that_stock_svi_trained_is_taken_from_pyros_store():
    flips = torch.tensor([1.0, 1.0, 0.0, 1.0])
    pyro.param("b", torch.tensor(30.0), constraint=dist.constraints.positive)
    svi = SVI(coin_model, coin_guide, pyro.optim.Adam({"lr": 1e-6}), Trace_ELBO())
    svi.step(flips)
    tree = to_datatree((coin_model, coin_guide), flips, 200, groups=["posterior"])
    assert_within(tree["posterior"]["p"].values.mean(), 3 / 33, math.sqrt(3 * 30 / 33**2 / 34 / 200))
    assert set(pyro.get_param_store().keys()) == {"a", "b"}


def test_a_pair_that_nobody_trained_is_refused():
    with pytest.raises(ValueError, match=r"was not trained: its parameter 'a'.*Pass what fit"):
        to_datatree((coin_model, coin_guide), torch.ones(3), 2)
    guide = AutoNormal(schools_model)
    with pytest.raises(ValueError, match="was not trained"):
        to_datatree((schools_model, guide), schools(), 2)
    run = fit((schools_model, guide), schools(), steps=1, progress=False)
    assert "posterior" in to_datatree((schools_model, guide), schools(), 2).children
    assert "posterior" in to_datatree(run.story, schools(), 2).children


def own_rows_model(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), subsample_size=2) as rows:
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x[rows])


def restless_model(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
    if pyro.sample("coin", dist.Bernoulli(0.5)) > 0:
        pyro.deterministic("bonus", torch.ones(()))


def restless_guide(x):
    pyro.sample("coin", dist.Bernoulli(0.5))


def test_what_would_be_silently_wrong_is_refused():
    run = fit((own_rows_model, AutoNormal(own_rows_model)), torch.randn(6), steps=1, progress=False)
    with pytest.raises(ValueError, match="plate 'data' chooses its own rows"):
        to_datatree(run, torch.randn(6), 2)
    with pytest.raises(ValueError, match="site 'bonus' is not the same in every draw"):
        to_datatree((restless_model, restless_guide), torch.randn(6), 40)
    tree = to_datatree((restless_model, restless_guide), torch.randn(6), 40, groups=["log_likelihood"])
    assert tree["log_likelihood"]["x"].shape == (1, 40, 6)


def coming_late(on):
    """A second latent beside the first: in the first draws alone, in the last ones alone, or at random."""
    runs = []

    def program(x, role):
        if role == "guide":
            runs.append(None)
        pyro.sample("mu", dist.Normal(0.0, 1.0))
        if on(len(runs)):
            pyro.sample("extra", dist.Normal(0.0, 1.0))
        if role == "model":
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    return lambda x: program(x, "model"), lambda x: program(x, "guide")


@pytest.mark.parametrize(
    "on", [lambda run: run < 12, lambda run: run > 12, lambda run: run % 2 == 0], ids=["first", "last", "now and then"]
)
def test_latents_that_come_and_go(on):
    with pytest.raises(ValueError, match=r"'extra' is not the same in every draw .* sites that come and go"):
        to_datatree(coming_late(on), torch.randn(6), 20)
    tree = to_datatree(coming_late(on), torch.randn(6), 20, groups=["log_likelihood"])
    assert tree["log_likelihood"]["x"].shape == (1, 20, 6)


@pytest.mark.parametrize(
    "on", [lambda run: run < 12, lambda run: run > 12, lambda run: run % 2 == 0], ids=["first", "last", "now and then"]
)
@pytest.mark.parametrize("groups", [["posterior"], ["log_likelihood"], ["posterior_predictive"]])
def test_observations_that_come_and_go(on, groups):
    runs = []

    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)
            if on(len(runs)):
                pyro.sample("again", dist.Normal(mu, 1.0), obs=x)

    def guide(x):
        runs.append(None)
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"'again' is not observed in every draw.* sites that come and go"):
        to_datatree((model, guide), torch.randn(6), 20, groups=groups)


def residual_model(x, y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("residual", dist.Normal(0.0, 1.0), obs=x - mu)
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def augmented_model(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("noisy", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x + torch.randn(len(x)))
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=2 * y)


def whole_residual_model(x, y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("residual", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1), obs=(x - mu) / 2)
    pyro.sample("y", dist.Normal(mu, 1.0).expand([len(x)]).to_event(1), obs=y)


@pytest.mark.parametrize("model", [residual_model, augmented_model, whole_residual_model])
def test_what_a_site_observes_in_one_draw_alone_is_no_observed_data(model):
    x, y = torch.randn(2, 6)
    run = fit((model, AutoNormal(model)), {"x": x, "y": y}, steps=2, progress=False)
    tree = to_datatree(run, {"x": x, "y": y}, 3)
    assert set(tree["observed_data"].data_vars) == {"y"}
    seen = 2 * y if model is augmented_model else y
    assert torch.equal(torch.from_numpy(tree["observed_data"]["y"].values), seen)
    assert len(tree["posterior_predictive"].data_vars) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["posteriors"]}, "no group 'posteriors'; did you mean 'posterior'"),
        ({"coords": {"dat": [1]}}, "no dimension 'dat'.*data"),
        ({"coords": {"data": [1]}}, "dimension 'data' has size 5, got 1 labels"),
        ({"dims": {"zz": ["a"]}}, "no site 'zz'.*have: .*z"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        to_datatree(PPCA(4, 2), torch.randn(5, 4), **options)


def test_what_is_no_story_is_refused():
    with pytest.raises(TypeError, match=r"expected a Story or a pair"):
        to_datatree("ppca", torch.randn(5, 4))


def test_a_subsampled_plate_takes_the_rows_that_are_given():
    run = fit(Location(), {"x": torch.randn(50)}, steps=2, batch_size=10, progress=False)
    tree = to_datatree(run, {"x": torch.randn(7)}, 5)
    assert tree["log_likelihood"]["x"].shape == (1, 5, 7)
    assert tree["posterior"]["mu"].shape == (1, 5)


@pytest.mark.gpu
def test_on_a_gpu():
    x = torch.randn(5, 4)
    story = PPCA(4, 2).maximum_likelihood(x).to("cuda")
    tree = to_datatree(story, {"x": x}, 10)
    weights = torch.from_numpy(tree["importance"]["log_weight"].values[0])
    torch.testing.assert_close(weights, story.log_prob(x.cuda()).detach().cpu().expand(10, 5), atol=1e-4, rtol=0)
    run = fit((schools_model, AutoNormal(schools_model)), schools(), steps=2, device="cuda", progress=False)
    assert to_datatree(run, schools(), 5)["posterior"]["theta"].shape == (1, 5, 8)
