"""What the command line says of stories that take no step, define no density, or are given x."""

import json

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("name", ["gaussian", "kde"])
def test_a_story_without_steps_is_fitted_and_says_why(call, tmp_path, name):
    options = ["train", name, "--data", "ring", "--out", tmp_path / "run"]
    called = call(*options)
    assert called.status == 0
    assert f"fitted {'KDE, no' if name == 'kde' else 'MultivariateGaussian, 6'} parameters, on 7,000 rows" in called.out
    assert "\nno steps: " in called.out
    again = call(*options, "--resume")
    assert again.status == 0
    assert "is finished and takes no steps: " in again.out
    evaluated = json.loads(call("evaluate", tmp_path / "run", "--json").out)
    assert (evaluated["kind"], evaluated["elbo"], evaluated["k"]) == ("exact", None, 0)
    assert call("sample", tmp_path / "run", "-n", 5, "--out", tmp_path / "x.npz").status == 0
    assert np.load(tmp_path / "x.npz")["x"].shape == (5, 2)


@pytest.mark.parametrize("name", ["pca", "kmeans"])
def test_a_baseline_without_a_density_declines_with_its_reason(call, tmp_path, name):
    settings = ["--set", "latent=1"] if name == "pca" else []
    called = call("train", name, "--data", "digits", "--out", tmp_path / "run", *settings)
    assert "not binarized" in called.out
    evaluated = call("evaluate", tmp_path / "run", "--json")
    assert evaluated.status == 0
    assert {json.loads(evaluated.out)[key] for key in ("log_likelihood", "elbo", "bits_per_dim", "kind")} == {None}
    assert "has no density: " in evaluated.err
    declined = call("sample", tmp_path / "run", "--out", tmp_path / "x.npz")
    assert declined.status == 1
    assert "defines no distribution over x" in declined.err


def test_the_classifier_is_scored_on_y_and_draws_y_for_an_x_that_is_given(call, tmp_path):
    options = ["--data", "digits", "--out", tmp_path / "run", "--epochs", 1, "--set", "hidden=[]"]
    assert call("train", "classifier", *options).status == 0
    assert "nats per datum of y given x, larger is better" in call("evaluate", tmp_path / "run").out
    sample = ["sample", tmp_path / "run", "-n", 7, "--out", tmp_path / "y.npz"]
    declined = call(*sample)
    assert declined.status == 1
    assert "as in sample(n, x=...)" in declined.err
    image = json.dumps(torch.rand(1, 8, 8).tolist())
    assert call(*sample, "--given", f"x={image}").status == 0
    assert np.load(tmp_path / "y.npz")["y"].shape == (7,)


def test_the_bandwidth_is_a_rule_or_a_number(call, tmp_path):
    for setting, status in (("scott", 0), (0.5, 0), ("scot", 2), (-1, 2)):
        called = call(
            "train", "kde", "--data", "ring", "--out", tmp_path / str(setting), "--set", f"bandwidth={setting}"
        )
        assert called.status == status
    assert (
        "kde: bandwidth takes one of leave-one-out, scott, silverman or a number above 0 and at most 1,000,000, got -1"
        in called.err
    )
