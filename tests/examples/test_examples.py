"""Every example runs, shorter than a reader would run it, and says what is true."""

import importlib.util
import json
import math
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.statistics import assert_within

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, **options):
    """Call an example's `main`; gives what it returns."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.main(**options)


def test_poisson_topics(capsys):
    _, found = run("poisson_topics", documents=600, epochs=40)
    assert found["similarity"] > 0.97 > 0.6 > found["chance"]
    assert found["error"] < 0.1
    assert found["new"].shape == (1000, 50)
    assert found["tree"]["posterior"]["z"].dims == ("chain", "draw", "data", "theme")
    assert "themes recovered    similarity 0.9" in capsys.readouterr().out


@pytest.fixture(scope="module")
def schools():
    """What the example with the eight schools finds."""
    return run("eight_schools", steps=800, draws=200)


def test_eight_schools(schools):
    module, found = schools
    for figures in found["found"].values():
        (mu, mu_sd), (tau, tau_sd) = figures["mu"], figures["tau"]
        assert abs(mu - module.REFERENCE["mu"][0]) < 1.2
        assert abs(mu_sd - module.REFERENCE["mu"][1]) < 1
        assert 1.5 < tau < module.REFERENCE["tau"][0] + 0.5
        assert tau_sd < module.REFERENCE["tau"][1] + 0.5
    for tree in found["trees"].values():
        assert tree["posterior"]["theta"].shape == (1, 200, 8)
        assert tree["log_likelihood"]["effect"].dims == ("chain", "draw", "school")


def test_eight_schools_are_compared_with_the_reference_draws(schools):
    """The example's reference is that of posteriordb; its effects are near those draws'."""
    path = Path(
        os.environ.get("PYROGEN_DATA", ""), "posteriordb", "eight_schools-eight_schools_noncentered.draws.json.zip"
    )
    if not os.environ.get("PYROGEN_DATA") or not path.is_file():
        pytest.skip("PYROGEN_DATA names no folder that holds posteriordb")
    with zipfile.ZipFile(path) as archive:
        chains = json.loads(archive.read(archive.namelist()[0]))
    draws = {name: np.concatenate([chain[name] for chain in chains]) for name in chains[0]}
    module, found = schools
    for name, (mean, sd) in module.REFERENCE.items():
        assert (round(draws[name].mean(), 2), round(draws[name].std(), 2)) == (mean, sd)
    for tree in found["trees"].values():
        for school, theta in enumerate(tree["posterior"]["theta"].mean(("chain", "draw")).values):
            reference = draws[f"theta[{school + 1}]"]
            assert abs(theta - reference.mean()) < 0.4 * reference.std()


def test_ppca_against_pca(capsys):
    _, found = run("ppca_against_pca", latent=3, epochs=40)
    rows = found["rows"]
    pca, closed, svi = rows["PCA (scikit-learn)"], rows["pPCA, closed form"], rows["pPCA, SVI"]
    assert closed[0] < 0.01
    assert svi[0] < 5
    assert closed[1:] == pytest.approx(pca[1:], abs=1e-3)
    assert svi[1:] == pytest.approx(pca[1:], abs=0.1)
    assert svi[1] < closed[1] + 1e-4  # nothing fits the training data better than maximum likelihood
    assert ((found["kept"] > 0) & (found["kept"] < 1)).all()
    assert "pPCA, closed form" in capsys.readouterr().out


def test_elbo_by_halves(tmp_path):
    _, found = run("elbo_by_halves", epochs=30, out=tmp_path / "halves.png")
    elbo = {name: reconstruction - divergence for name, (reconstruction, divergence) in found["rows"].items()}
    assert elbo["both"] > elbo["decoder alone"] + 1 > elbo["prior alone"] + 10
    assert abs(found["rows"]["decoder alone"][1]) < 1e-3
    stories = found["stories"]
    one_image = stories["decoder alone"].sample(500).mean(0)
    with stories["decoder alone"].predicting():
        assert stories["decoder alone"].decode(torch.randn(500, 2)).mean.std(0).max() < 0.1
        assert stories["both"].decode(torch.randn(500, 2)).mean.std(0).max() > 0.2
    assert one_image.shape == (1, 8, 8)
    assert (tmp_path / "halves.png").stat().st_size > 10_000


def test_elbo_without_entropy(tmp_path):
    _, found = run("elbo_without_entropy", epochs=40, out=tmp_path / "entropy.png")
    (spread, scale, elbo), (wide, cloud, better) = found["rows"].values()
    assert spread < 0.7 < wide
    assert scale < 0.02 < 0.1 < cloud
    assert better > elbo + 2
    assert (tmp_path / "entropy.png").stat().st_size > 10_000


def test_diffusion_as_a_chain(tmp_path):
    _, found = run("diffusion_as_a_chain", num_timesteps=12, epochs=8, runs=12, out=tmp_path / "chain.png")
    (chain, error, slow), (one, wider, fast) = found["found"].values()
    assert_within(one, chain, math.hypot(error, wider))
    assert fast < slow
    elbo, tighter, truth = found["bounds"]
    assert elbo < tighter < truth
    assert found["new"].shape == (2000, 2)
    assert (tmp_path / "chain.png").stat().st_size > 10_000
