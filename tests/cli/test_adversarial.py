"""GANs by the command line."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from pyrogen.adversarial import Hinge, NonSaturating, Wasserstein
from pyrogen.cli.parsing import parse_objective
from tests.cli.conftest import trained

SMALL = ("--set", "hidden=[8]", "--set", "channels=[4,4]", "--set", "latent=2")


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    return trained(tmp_path_factory, "gan", "digits", *SMALL, "--strip")


def test_train_prints_how_generator_and_critic_compare(call, tmp_path):
    done = call("train", "vae_gan", "--data", "digits", "--epochs", 1, *SMALL, "--out", tmp_path / "run")
    assert done.status == 0
    assert "not binarized" in done.out
    assert "alternating updates of critic and generator are not compiled" in done.out
    assert "% of pairs (50 %: cannot distinguish them); generated data are " in done.out
    assert "active units" in done.out


def test_a_strip_of_samples_by_epoch(gan):
    assert imread(gan / "strip.png").shape[:2] == (2 * 58 + 2, 10 * 58 + 2)


def test_a_strip_of_points_is_refused(call, tmp_path):
    np.savez(tmp_path / "points.npz", x=np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    done = call("train", "gan", "--data", tmp_path / "points.npz", "--strip", "--out", tmp_path / "run")
    assert done.status == 1
    assert "--strip draws images" in done.line
    assert not (tmp_path / "run").exists()


def test_sample_and_resume(call, gan, tmp_path):
    assert call("sample", gan, "-n", 5, "--out", tmp_path / "x.npz").status == 0
    x = np.load(tmp_path / "x.npz")["x"]
    assert x.shape == (5, 1, 8, 8)
    assert (x >= 0).all()
    assert (x <= 1).all()
    done = call("train", "gan", "--data", "digits", *SMALL, "--epochs", 2, "--out", gan, "--resume")
    assert "nothing to do" in done.out


def test_labels_asked_for(call, tmp_path):
    out = tmp_path / "run"
    assert (
        call("train", "conditional_gan", "--data", "digits", "--epochs", 1, *SMALL, "--strip", "--out", out).status == 0
    )
    assert call("sample", out, "-n", 4, "--given", "y=3", "--out", tmp_path / "x.npz").status == 0
    assert np.load(tmp_path / "x.npz")["y"].tolist() == [3, 3, 3, 3]
    assert imread(out / "strip.png").shape[1] == 10 * 58 + 2


def test_evaluate_scores_the_samples_of_a_gan(call, tmp_path):
    np.savez(tmp_path / "points.npz", x=np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32))
    data = ("--data", tmp_path / "points.npz")
    assert call("train", "gan", *data, "--epochs", 1, "--set", "hidden=8", "--out", tmp_path / "run").status == 0
    done = call("evaluate", tmp_path / "run", "--json")
    report = json.loads(done.out)
    assert done.status == 0
    assert done.line == (
        "pyrogen: GAN has no density: generated data fill a thin surface at most, and no density is known there: "
        "compare samples with data"
    )
    for name in ("log_likelihood", "log_likelihood_error", "elbo", "bits_per_dim", "kind"):
        assert report[name] is None
    quality = report["sample_quality"]
    assert quality["features"] == "raw values"
    assert quality["num_samples"] == quality["num_data"] == report["n"]
    assert quality["frechet_distance"] > 0
    assert "frechet distance" in call("evaluate", tmp_path / "run").out


def test_evaluate_scores_no_samples_of_a_story_with_a_density(call, vae):
    assert json.loads(call("evaluate", vae, "-k", 2, "--json").out)["sample_quality"] is None


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("nonsaturating", NonSaturating()),
        ("hinge,r1=0.5", Hinge(r1=0.5)),
        ("wasserstein", Wasserstein()),
        ("wasserstein=1,critic_steps=2", Wasserstein(gradient_penalty=1, critic_steps=2)),
        ("r1=3", NonSaturating(r1=3)),
    ],
)
def test_adversarial_losses_by_name(text, loss):
    assert parse_objective(text) == loss


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hinge,wasserstein", "'hinge' and 'wasserstein' exclude each other"),
        ("hinge,beta=4", "'hinge' and 'beta' exclude each other"),
        ("beta=4,r1=1", "'beta' and 'r1' exclude each other"),
        ("hinge=3", "'hinge' takes no value"),
        ("r1", "'r1' takes a number"),
        ("r1=-1", "weight of at least 0"),
        ("critic_steps=1.5", "whole number of at least 1"),
        ("hing", "did you mean 'hinge'"),
    ],
)
def test_what_is_no_adversarial_loss_is_refused(call, tmp_path, text, message):
    done = call("train", "gan", "--data", "digits", "--objective", text, "--out", tmp_path / "run")
    assert done.status == 2
    assert message in done.line


@pytest.mark.parametrize("text", ["elbo", "beta=4", "iwae=5"])
def test_a_gan_takes_no_bound(call, tmp_path, text):
    done = call("train", "gan", "--data", "digits", "--objective", text, "--out", tmp_path / "run")
    assert done.status == 1
    assert "GAN has no svi: critic and generator minimize a loss each" in done.line


def test_a_vae_takes_no_adversarial_loss(call, tmp_path):
    done = call("train", "vae", "--data", "digits", "--objective", "hinge", "--out", tmp_path / "run")
    assert done.status == 1
    assert "VAE trains by SVI, and objective is a Hinge" in done.line
