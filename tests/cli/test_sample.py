"""`pyrogen sample`: files, conditions, and labels by their frequencies."""

import math

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file

from pyrogen import load
from pyrogen.catalog import find
from tests.helpers.statistics import assert_within


def test_arrays(call, vae, tmp_path):
    called = call("sample", vae, "-n", 5, "--out", tmp_path / "new" / "x.npz")
    assert (called.status, called.err) == (0, "")
    assert "x (5, 1, 8, 8)" in called.out
    assert call("sample", vae, "-n", 5, "--out", tmp_path / "x.safetensors").status == 0
    with np.load(tmp_path / "new" / "x.npz") as arrays:
        assert list(arrays) == ["x"]
        x = torch.from_numpy(arrays["x"])
    assert x.shape == (5, 1, 8, 8)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], x)


def test_the_seed_determines_the_draws(call, vae, tmp_path):
    files = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        assert call("sample", vae, "-n", 3, "--seed", seed, "--out", file).status == 0
    first, again, other = (load_file(file)["x"] for file in files)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_picture_replaces_one(call, vae, tmp_path):
    path = tmp_path / "x.PNG"
    for n in (2, 9):
        assert call("sample", vae, "-n", n, "--out", path).status == 0
    assert imread(path).shape[:2] == (3 * 58 + 2, 3 * 58 + 2)


def test_no_picture_of_what_is_no_image(call, tmp_path):
    out = tmp_path / "run"
    assert call("train", "ppca", "--data", "ring", "--set", "latent=1", "--steps", 1, "--out", out).status == 0
    called = call("sample", out, "--out", tmp_path / "x.png")
    assert called.status == 1
    assert "x (64, 2); write .npz or .safetensors instead" in called.line
    assert call("sample", out, "--out", tmp_path / "x.npz").status == 0


def test_labels_not_given_are_drawn_as_often_as_in_training(call, classes, own, tmp_path):
    n = 4000
    out = tmp_path / "x.safetensors"
    assert call("sample", classes, "--story", f"{own}:Classes", "-n", n, "--out", out).status == 0
    drawn = load_file(out)
    assert set(drawn) == {"x", "y"}
    counts = load(classes, into=story(own)).config["data"]["protocol"]["label_frequencies"]["y"]
    share = counts[1] / sum(counts)
    assert_within(drawn["y"].float().mean(), share, math.sqrt(share * (1 - share) / n))
    # The classes light up different rows of pixels.
    assert drawn["x"][drawn["y"] == 0, :, 0].mean() > 0.9
    assert drawn["x"][drawn["y"] == 1, :, 0].mean() < 0.1


def story(own):
    return find(f"{own}:Classes").build((1, 4, 4), 2)


@pytest.mark.parametrize(("value", "labels"), [("1", [1, 1, 1]), ("[0,1,0]", [0, 1, 0])])
def test_labels_given(call, classes, own, tmp_path, value, labels):
    out = tmp_path / "x.npz"
    options = ["--story", f"{own}:Classes", "-n", 3, "--out", out, "--given", f"y={value}"]
    assert call("sample", classes, *options).status == 0
    with np.load(out) as arrays:
        assert arrays["y"].tolist() == labels
        assert arrays["x"][:, 0, 2].mean(-1).round().tolist() == labels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("y=2", "--given y=2: labels are whole numbers from 0 to 1"),
        ("y=-1", "--given y=-1: labels are whole numbers from 0 to 1"),
        ("y=0.5", "--given y=0.5: 'y' holds whole numbers"),
        ("y=true", "--given y=true: expected a number, true and false are none"),
        ("y=[true, false]", "--given y=[true,false]: expected a number, true and false are none"),
        ("y=three", "--given y=three: expected a number, or a list of numbers in JSON"),
        ("y=[0,1]", "--given y: expected shape () for all or (3,), got (2,)"),
        ("z=1", "--given z: Classes has no column 'z' (it has: x, y)"),
    ],
)
def test_conditions_that_the_story_cannot_take_are_refused(call, classes, own, tmp_path, given, message):
    options = ["--story", f"{own}:Classes", "-n", 3, "--out", tmp_path / "x.npz", "--given", given]
    called = call("sample", classes, *options)
    assert called.status == 2
    assert message in called.err
    assert not (tmp_path / "x.npz").exists()


def test_a_diffusion_draws_with_the_settings_of_its_sampler(call, tmp_path):
    folder, out = tmp_path / "run", tmp_path / "x.npz"
    small = ("--set", "network=dense", "--set", "hidden=[8]", "--set", "num_timesteps=20", "--set", "conditional=true")
    assert call("train", "diffusion", "--data", "digits", "--epochs", 1, *small, "--out", folder).status == 0
    drawn = []
    for ways in ((), ("--draw", "steps=5", "--draw", "eta=0", "--draw", "guidance=2")):
        assert call("sample", folder, "-n", 3, "--out", out, *ways).status == 0
        drawn.append(np.load(out)["x"])
    assert drawn[0].shape == drawn[1].shape == (3, 1, 8, 8)
    assert not np.array_equal(*drawn)
    assert (
        "ConditionalDiffusion has no setting 'step'; did you mean 'steps'? (it has: steps, eta, guidance)"
        in call("sample", folder, "--draw", "step=5", "--out", out).line
    )


def test_a_story_without_settings_of_its_sampler_takes_none(call, vae, tmp_path):
    called = call("sample", vae, "--draw", "steps=5", "--out", tmp_path / "x.png")
    assert called.status == 2
    assert "--draw: VAE has no settings of its sampler: leave it out" in called.line
