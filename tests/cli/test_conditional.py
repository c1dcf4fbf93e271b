"""`pyrogen train conditional_vae`: labels, missing ones, and what the summary says of the posterior."""

import numpy as np
import pytest

from pyrogen import load
from pyrogen.models import ConditionalVAE, SemiSupervisedVAE

SMALL = ("--set", "hidden=[16]", "--set", "latent=2")


@pytest.fixture
def partly(bars, tmp_path):
    """The bars with two labels of three missing."""
    data = dict(np.load(bars))
    data["y"] = np.where(np.arange(len(data["y"])) % 3 == 0, data["y"], -1)
    np.savez(tmp_path / "partly.npz", **data)
    return tmp_path / "partly.npz"


def sampled(call, run, out, *options):
    called = call("sample", run, "-n", 200, "--out", out, *options)
    assert (called.status, called.err) == (0, "")
    return np.load(out)


def test_labels_are_conditioned_on(call, bars, tmp_path):
    run = tmp_path / "run"
    assert (
        call(
            "train",
            "conditional_vae",
            "--data",
            bars,
            "--epochs",
            40,
            "--batch-size",
            32,
            "--lr",
            0.02,
            "--out",
            run,
            *SMALL,
        ).status
        == 0
    )
    assert type(load(run).story) is ConditionalVAE
    drawn = sampled(call, run, tmp_path / "ones.npz", "--given", "y=1")
    assert (drawn["y"] == 1).all()
    assert drawn["x"][:, 0, 2].mean() > 0.9 > 0.1 > drawn["x"][:, 0, 0].mean()
    drawn = sampled(call, run, tmp_path / "any.npz")
    assert 0.1 < drawn["y"].mean() < 0.4
    assert call("sample", run, "--out", tmp_path / "no.npz", "--given", "y=2").line.endswith(
        "whole numbers from 0 to 1"
    )


def test_missing_labels_are_seen_in_the_data(call, partly, tmp_path):
    run = tmp_path / "run"
    train = ("train", "conditional_vae", "--data", partly, "--batch-size", 32, "--lr", 0.02, "--out", run, *SMALL)
    assert call(*train, "--epochs", 40).status == 0
    story = load(run).story
    assert type(story) is SemiSupervisedVAE
    assert 0.6 < float(story.frequencies[0]) < 0.9
    drawn = sampled(call, run, tmp_path / "ones.npz", "--given", "y=1")
    assert drawn["x"][:, 0, 2].mean() > 0.9 > 0.1 > drawn["x"][:, 0, 0].mean()
    assert set(sampled(call, run, tmp_path / "any.npz")["y"]) == {0, 1}
    assert call("evaluate", run, "-k", 10).status == 0
    assert call(*train, "--epochs", 41, "--resume").status == 0


def test_a_collapsed_posterior_is_reported(call, bars, tmp_path):
    train = ("train", "vae", "--data", bars, "--epochs", 20, "--out", tmp_path / "run", *SMALL)
    output = call(*train, "--objective", "beta=1000").out
    assert "active units 0 of 2 (" in output
    assert "the posterior has collapsed: the latents do not depend on x" in output


def test_stories_without_codes_are_silent(call, classes, bars, own, tmp_path):
    train = ("train", f"{own}:Classes", "--data", bars, "--epochs", 1, "--out", tmp_path / "run")
    assert "active units" not in call(*train).out
