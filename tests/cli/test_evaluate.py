"""`pyrogen evaluate`: figures against the library's and exact ones, the protocol, and what it does without."""

import json
import math
import shutil

import numpy as np
import pytest

from pyrogen import data as datasets
from pyrogen import fit, load
from pyrogen.inference import log_likelihood
from pyrogen.models import VAE
from tests.helpers.statistics import assert_within

KEYS = ["log_likelihood", "log_likelihood_error", "elbo", "bits_per_dim", "k", "n", "data", "split", "binarize", "seed"]
KEYS += ["kind", "sample_quality"]


def report(called):
    assert called.status == 0
    assert called.out.count("\n") == 1
    found = json.loads(called.out)
    assert list(found) == KEYS
    return found


def test_importance_weighted(call, vae):
    called = call("evaluate", vae, "-k", 20, "--seed", 3, "--json")
    assert not called.err
    test = datasets.load("digits", binarize="static").test
    expected = log_likelihood(load(vae).story, test, 20, seed=3)
    assert report(called) == {
        "log_likelihood": expected.mean()[0],
        "log_likelihood_error": expected.mean()[1],
        "elbo": expected.mean_elbo()[0],
        "bits_per_dim": None,
        "k": 20,
        "n": 360,
        "data": "digits",
        "split": "test",
        "binarize": "static",
        "seed": 3,
        "kind": "importance-weighted",
        "sample_quality": None,
    }


def test_exact_on_the_scale_of_grey_levels(call, ppca):
    found = report(call("evaluate", ppca, "-k", 10, "--json"))
    splits = datasets.load("digits", dequantize=True)
    exact = float(load(ppca).story.log_prob(splits.test["x"]).detach().mean()) - 64 * math.log(17)
    assert found["log_likelihood"] == pytest.approx(exact, rel=1e-6)
    assert found["bits_per_dim"] == pytest.approx(-exact / (64 * math.log(2)), rel=1e-6)
    assert found["elbo"] < found["log_likelihood"]
    assert (found["log_likelihood_error"], found["kind"], found["binarize"]) == (0, "exact", "dequantized")


def test_known_answer_on_planted_data(call, tmp_path):
    """The planted model is within reach: its mean log density is nearly met, from below."""
    out = tmp_path / "run"
    options = ["--set", "latent=3", "--epochs", 25, "--batch-size", 700, "--lr", 0.02, "--out", out]
    assert call("train", "ppca", "--data", "linear_gaussian", *options).status == 0
    found = report(call("evaluate", out, "--json"))
    truth = datasets.load("linear_gaussian").truth.test_log_prob
    assert_within(found["log_likelihood"], float(truth.mean()), 0.02)
    assert found["bits_per_dim"] is None


def test_what_is_printed_names_the_protocol(call, vae, ppca):
    output = call("evaluate", vae, "-k", 5, "--split", "validation").out
    first, *others = output.splitlines()
    assert first == "VAE on digits, validation split (180 data), static binarization (seed 0: our own draw)"
    assert others[0].startswith("log-likelihood ")
    assert others[0].endswith("  (importance-weighted, k = 5, seed 0)")
    assert others[1].startswith("ELBO ")
    assert " +- " in others[0]
    assert " +- " in others[1]
    output = call("evaluate", ppca, "-k", 5).out
    assert "(exact, on the scale of grey levels)" in output
    assert "bits per dim" in output


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_each_split_of_dequantized_data(call, ppca, split):
    first, second = (report(call("evaluate", ppca, "-k", 2, "--split", split, "--json")) for _ in range(2))
    assert first == second
    assert first["n"] == {"train": 1257, "validation": 180, "test": 360}[split]
    assert 1 < first["bits_per_dim"] < 6


def test_a_density_of_undrawn_grey_values_is_no_probability_in_bits(call, tmp_path):
    options = ["--set", "likelihood=gaussian", "--binarize", "none", "--steps", 1, "--out", tmp_path / "run"]
    assert call("train", "vae", "--data", "digits", *options).status == 0
    found = report(call("evaluate", tmp_path / "run", "-k", 2, "--json"))
    assert (found["binarize"], found["bits_per_dim"]) == ("none", None)


def test_a_story_of_ones_own_whose_file_speaks(call, classes, own):
    called = call("evaluate", classes, "--story", f"{own}:Classes", "--json")
    assert report(called)["log_likelihood_error"] == 0
    assert called.err == "a file that speaks when it is read\n"


def test_without_weights_it_is_the_held_out_elbo(call, tmp_path, own):
    out, name = tmp_path / "run", f"{own}:Location"
    assert call("train", name, "--data", "linear_gaussian", "--epochs", 2, "--out", out).status == 0
    found = report(call("evaluate", out, "--story", name, "-k", 4, "--json"))
    assert (found["kind"], found["log_likelihood"], found["log_likelihood_error"]) == ("elbo", None, None)
    assert (found["k"], found["bits_per_dim"]) == (4, None)
    assert math.isfinite(found["elbo"])
    output = call("evaluate", out, "--story", name, "-k", 4).out
    assert "ELBO " in output
    assert "log-likelihood" not in output


def test_a_guide_that_is_a_point_gives_a_bound_and_no_likelihood(call, tmp_path):
    options = ("--steps", 1, "--set", "hidden=[8]", "--out", tmp_path)
    assert call("train", "vq_vae", "--data", "digits", *options).status == 0
    report = json.loads(call("evaluate", tmp_path, "--json", "-k", 5).out)
    assert (report["kind"], report["k"]) == ("elbo", 1)
    assert (report["log_likelihood"], report["log_likelihood_error"]) == (None, None)
    assert report["elbo"] < 0
    assert "log-likelihood" not in call("evaluate", tmp_path).out


def test_without_a_density_estimates_are_null_and_the_reason_is_printed(call, tmp_path, own, bars):
    out, name = tmp_path / "run", f"{own}:Undecided"
    assert call("train", name, "--data", bars, "--steps", 1, "--out", out).status == 0
    called = call("evaluate", out, "--story", name, "--json")
    found = report(called)
    assert called.err.splitlines()[-1] == "pyrogen: Undecided has no density: it would rather not"
    assert {found[key] for key in ("log_likelihood", "log_likelihood_error", "elbo", "bits_per_dim", "kind")} == {None}
    assert (found["n"], found["data"]) == (60, str(bars))
    output = call("evaluate", out, "--story", name)
    assert (output.status, output.out) == (0, "a file that speaks when it is read\n")


def test_the_data_are_found_again_from_another_folder(call, classes, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("evaluate", classes, "--story", f"{own}:Classes").status == 0


def test_data_under_a_root(call, tmp_path, bars, own, monkeypatch):
    """The root is the argument, else PYROGEN_DATA, else what the run was trained with."""
    monkeypatch.delenv("PYROGEN_DATA", raising=False)
    root, out, name = tmp_path / "root", tmp_path / "run", f"{own}:Classes"
    root.mkdir()
    shutil.copy(bars, root / "b.npz")
    monkeypatch.chdir(tmp_path)
    trained = call("train", name, "--data", "b.npz", "--data-dir", "root", "--epochs", 1, "--out", out)
    assert trained.status == 0
    monkeypatch.chdir(root.parent.parent)
    assert call("evaluate", out, "--story", name).status == 0
    root.rename(tmp_path / "moved")
    lost = call("evaluate", out, "--story", name)
    assert lost.status == 1
    assert "b.npz: no such file or folder" in lost.err
    assert call("evaluate", out, "--story", name, "--data-dir", tmp_path / "moved").status == 0
    monkeypatch.setenv("PYROGEN_DATA", str(tmp_path / "moved"))
    assert call("evaluate", out, "--story", name).status == 0


def test_data_that_have_changed_are_refused_unless_named(call, tmp_path, own):
    path, out, name = tmp_path / "own.npz", tmp_path / "run", f"{own}:Classes"
    x = np.zeros((50, 1, 2, 2), dtype=np.float32)
    np.savez(path, x=x, y=np.arange(50) % 2)
    assert call("train", name, "--data", path, "--epochs", 1, "--out", out).status == 0
    np.savez(path, x=x[:40], y=np.arange(40) % 2)
    changed = call("evaluate", out, "--story", name)
    assert changed.status == 1
    assert f"{path} has 28/4/8 rows, and had 35/5/10 in training: restore it, or pass --data {path}" in changed.err
    assert report(call("evaluate", out, "--story", name, "--data", path, "--json"))["n"] == 8


def test_a_run_that_python_made_needs_the_data_named(call, tmp_path):
    splits = datasets.load("digits", binarize="static")
    story = VAE((1, 8, 8), 2, hidden=(8,))
    fit(story, {"x": splits.train["x"]}, epochs=1, progress=False, out=tmp_path / "run")
    nameless = call("evaluate", tmp_path / "run")
    assert nameless.status == 1
    assert "pass --data" in nameless.line
    found = report(call("evaluate", tmp_path / "run", "--data", "digits", "-k", 3, "--json"))
    expected = log_likelihood(story, splits.test, 3, seed=0)
    assert (found["binarize"], found["log_likelihood"]) == ("static", expected.mean()[0])


def test_a_component_that_config_json_cannot_describe_is_refused(call, tmp_path, own, classes):
    folder = shutil.copytree(classes, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["story"]["class"] = "own.Composed"
    config["story"]["arguments"] = {"part": {"opaque": "own.Part"}}
    (folder / "config.json").write_text(json.dumps(config))
    called = call("evaluate", folder, "--story", f"{own}:Composed")
    assert called.status == 1
    assert "built with a own.Part, which config.json cannot describe" in called.err


def test_a_run_made_from_python_knows_its_data(call, tmp_path):
    train = datasets.load("digits", binarize="threshold").train
    fit(VAE((1, 8, 8), 2, hidden=(8,)), train, epochs=1, out=tmp_path / "run")
    found = report(call("evaluate", tmp_path / "run", "-k", 2, "--json"))
    assert (found["data"], found["binarize"], found["n"]) == ("digits", "threshold", 360)
