"""ArviZ's own functions run on what is exported, for one fit and for restarts as chains."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyrogen import fit
from pyrogen.diagnostics import check_calibration, to_datatree
from pyrogen.models import PPCA
from tests.helpers.linear_gaussian import ppca, scaled
from tests.helpers.stories import Location, schools, schools_model


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def shared():
    """One mean shared by 12 data, and its tree."""
    x = torch.randn(12) + 1
    run = fit(Location(), {"x": x}, steps=30, progress=False)
    return to_datatree(run, {"x": x}, 200)


def test_a_shared_latent_is_left_out_and_plotted(shared):
    import arviz_plots
    import arviz_stats

    stats = shared["sample_stats"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so short a run may have large Pareto shapes
        elpd = arviz_stats.loo_approximate_posterior(shared, stats["lp"], stats["log_q"], pointwise=True)
        pit = arviz_stats.loo_pit(shared)
    assert elpd.elpd_i.shape == (12,)
    assert ((pit["x"] >= 0) & (pit["x"] <= 1)).all()
    assert list(arviz_stats.summary(shared, kind="stats").index) == ["mu"]
    arviz_plots.plot_khat(elpd, backend="matplotlib")
    arviz_plots.plot_forest(shared, backend="matplotlib")
    arviz_plots.plot_ppc_dist(shared, backend="matplotlib")


def test_local_latents_are_plotted():
    import arviz_plots

    story = ppca()
    x = story.sample(6)
    tree = to_datatree(story, x, 100)
    arviz_plots.plot_forest(tree, var_names=["z"], backend="matplotlib")
    arviz_plots.plot_ppc_dist(tree, backend="matplotlib")
    pits = check_calibration(story, x, simulations=200, draws=49).to_datatree()
    assert pits["prior_sbc"]["z"].shape == (1, 200, 2)
    assert (np.abs(pits["prior_sbc"]["z"] - 0.5) < 0.5).all()
    arviz_plots.plot_ecdf_pit(pits, backend="matplotlib")


def restarts(x, *shifts):
    runs = [fit(Location(), {"x": x}, steps=1, progress=False, seed=i) for i in range(len(shifts))]
    with torch.no_grad():
        for run, shift in zip(runs, shifts, strict=True):
            run.story.guide.locs.mu.copy_(x.mean() + shift)
            run.story.guide.scales.mu = torch.tensor(0.2)
    return runs


def test_restarts_are_chains_that_agree_or_not():
    import arviz_stats

    x = torch.randn(20)
    same = to_datatree(restarts(x, 0.0, 0.0, 0.0), x, 200, groups=["posterior"])
    assert same["posterior"]["mu"].shape == (3, 200)
    assert same.attrs["num_chains"] == 3
    assert float(arviz_stats.rhat(same)["mu"]) < 1.02
    apart = to_datatree(restarts(x, 0.0, 1.0), x, 200, groups=["posterior"])
    assert float(arviz_stats.rhat(apart)["mu"]) > 1.5
    assert "r_hat" in arviz_stats.summary(apart)
    chains = same["posterior"]["mu"].values
    assert len(np.unique(chains)) == chains.size


def test_each_restart_has_its_own_summary_and_netcdf_keeps_it(tmp_path):
    import xarray

    exact, narrow = ppca(), scaled(ppca(), 0.6)
    x = exact.sample(7)
    tree = to_datatree([exact, narrow], x, 300)
    alone = to_datatree(narrow, x, 300, seed=1, groups=["importance_summary"])
    assert tree["importance_summary"]["khat"].dims == ("chain", "data")
    assert np.isneginf(tree["importance_summary"]["khat"][0]).all()
    np.testing.assert_array_equal(tree["importance_summary"]["khat"][1], alone["importance_summary"]["khat"])
    assert tree["observed_data"]["x"].shape == (7, 5)
    tree.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
    with xarray.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as read:
        xarray.testing.assert_identical(read.load(), tree)


def test_fits_of_different_programs_are_no_chains():
    x = torch.randn(6, 5)
    with pytest.raises(ValueError, match="the fits are not of one program: 'z' of posterior is not the same in all"):
        to_datatree([PPCA(5, 2), PPCA(5, 3)], x, 10)
    run = fit((schools_model, AutoNormal(schools_model)), schools(), steps=1, progress=False)
    with pytest.raises(ValueError, match="an empty list"):
        to_datatree([], schools(), 10)
    assert to_datatree([run, run], schools(), 5)["sample_stats"]["lp"].shape == (2, 5)
