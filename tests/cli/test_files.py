"""Files of many kinds on the command line: what became of them is printed, or one line refuses them."""

import json

import numpy as np
import pytest
from PIL import Image

SHORT = ("--epochs", 1, "--no-progress")


def archive(path, **arrays):
    np.savez(path, **arrays)
    return path


def normal(*shape, scale=1.0, shift=0.0):
    return (np.random.default_rng(0).normal(size=shape) * scale + shift).astype(np.float32)


@pytest.mark.parametrize("name", ["gaussian", "kde", "pca"])
def test_columns_that_a_story_does_not_take_are_named(call, tmp_path, name):
    path = archive(tmp_path / "own.npz", x=normal(30, 3), y=normal(30), weight=normal(30))
    called = call("train", name, "--data", path, "--out", tmp_path / "run", *(["--set", "latent=1"] * (name == "pca")))
    assert called.status == 0, called.err
    assert "not used: 'y', 'weight'; " in called.out


def test_what_became_of_the_columns_of_a_table_is_printed(call, tmp_path):
    points = tmp_path / "points.csv"
    np.savetxt(points, normal(40, 2), delimiter=",", header="x,y", comments="")
    called = call("train", "gaussian", "--data", points, "--out", tmp_path / "run")
    assert "columns 'x', 'y' are coordinates" in called.out
    table = tmp_path / "table.csv"
    np.savetxt(table, np.c_[normal(40, 2), np.arange(40) % 2], delimiter=",", header="a,b,label", comments="")
    called = call("train", "gaussian", "--data", table, "--out", tmp_path / "other")
    assert "column 'label' holds the labels" in called.out
    assert "not used: 'y'" in called.out


@pytest.mark.parametrize("key", ["arr_0", "X", "images"])
def test_an_archive_with_other_keys_is_refused_with_what_to_type(call, tmp_path, key):
    path = archive(tmp_path / "own.npz", **{key: normal(30, 3)})
    called = call("train", "gaussian", "--data", path, "--out", tmp_path / "run")
    assert called.status == 1
    assert f"has the columns '{key}' (3,)" in called.line
    assert "numpy.savez(FILE, x=..., y=...)" in called.line


@pytest.mark.parametrize(
    "name", [["classifier"], ["conditional_vae"], ["conditional_gan"], ["made", "--set", "conditional=true"]]
)
def test_numbers_that_are_no_labels_are_refused_before_memory_is_asked_for(call, tmp_path, name):
    y = np.array([5, 7, 10**9] * 10)
    path = archive(tmp_path / "own.npz", x=(normal(30, 3) > 0).astype(np.float32), y=y)
    called = call("train", *name, "--data", path, "--out", tmp_path / "run", *SHORT)
    assert called.status == 1
    assert "'y' from 5 to 1,000,000,000 with 3 different values" in called.line
    assert "numpy.unique(y, return_inverse=True)[1]" in called.line


@pytest.mark.parametrize("scale", [3e3, 1e5, 1e7])
def test_standardizing_is_advised_where_large_values_overflow(call, tmp_path, scale):
    path = archive(tmp_path / "own.npz", x=normal(60, 3, scale=scale, shift=2 * scale))
    options = ("--set", "likelihood=gaussian", *SHORT)
    called = call("train", "vae", "--data", path, "--out", tmp_path / "run", *options)
    assert called.status == 1
    assert "standardize column 'x', whose values lie in [" in called.line


@pytest.mark.parametrize("story", ["vae", "made"])
def test_a_run_that_diverges_is_no_success(call, tmp_path, story):
    options = ("--lr", 1000, "--epochs", 2, "--no-progress")
    called = call("train", story, "--data", "digits", "--out", tmp_path / "run", *options)
    assert called.status == 1
    assert "the run has diverged: the training ELBO began at -4" in called.line
    assert "--lr 0.001" in called.line


def test_a_run_that_has_not_converged_is_described(call, tmp_path):
    path, out = tmp_path / "raw.csv", tmp_path / "run"
    np.savetxt(path, normal(80, 3) * [1, 100, 3000], delimiter=",")
    options = ("--set", "latent=1", "--epochs", 5, "--lr", 1e-5)
    called = call("train", "ppca", "--data", path, "--out", out, *options)
    assert called.status == 0
    assert "not converged: column 'x' has standard deviations up to " in called.out
    called = call("evaluate", out)
    assert "PPCA has not converged: " in called.err


def test_a_text_is_evaluated_in_the_symbols_of_the_run(call, tmp_path):
    train, other, out = tmp_path / "train.txt", tmp_path / "other.txt", tmp_path / "run"
    train.write_text("abcab\n" * 20 + "b\n" * 20)
    options = ("--epochs", 30, "--set", "width=8", "--set", "layers=1", "--lr", 0.01, "--no-progress")
    assert call("train", "language_model", "--data", train, "--out", out, *options).status == 0
    other.write_text("b\n" * 10)
    common = json.loads(call("evaluate", out, "--data", other, "--json").out)["log_likelihood"]
    other.write_text("c\n" * 10)
    rare = json.loads(call("evaluate", out, "--data", other, "--json").out)["log_likelihood"]
    assert common > rare + 0.5
    for line, words in (("xb", "'x', which is not in the alphabet 'abc'"), ("abcabc", "6 characters, and")):
        other.write_text(f"{line}\n" * 10)
        assert words in call("evaluate", out, "--data", other).line
    numbers = archive(tmp_path / "numbers.npz", x=np.zeros((9, 5), dtype=np.int64))
    assert "was trained on text, and these data are numbers" in call("evaluate", out, "--data", numbers).line
    # A length that is given is kept, and must hold the beginning.
    drawn = tmp_path / "drawn.txt"
    assert call("sample", out, "-n", 2, "--begin", "ab", "--given", "length=3", "--out", drawn).status == 0
    assert [(line[:2], len(line)) for line in drawn.read_text().splitlines()] == [("ab", 3)] * 2
    called = call("sample", out, "--begin", "abca", "--given", "length=3", "--out", drawn)
    assert called.status == 2
    assert "at least the 4 characters of --begin abca" in called.line


def test_classes_of_other_folders_have_the_numbers_of_the_run(call, tmp_path):
    for folder, classes in (("train", "abc"), ("other", "c"), ("unknown", "d")):
        for each in classes:
            for row in range(10):
                path = tmp_path / folder / each / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((2, 2), 100 * "abcd".index(each) % 256, np.uint8)).save(path)
    out = tmp_path / "run"
    options = ("--epochs", 60, "--lr", 0.05, "--batch-size", 7, "--set", "hidden=[8]", "--no-progress")
    called = call("train", "classifier", "--data", tmp_path / "train", "--out", out, *options)
    assert "folders are classes, in column 'y': 'a', 'b', 'c'" in called.out
    report = json.loads(call("evaluate", out, "--data", tmp_path / "other", "--json").out)
    assert report["log_likelihood"] > -0.7
    called = call("evaluate", out, "--data", tmp_path / "unknown")
    assert "class 'd' is none of 'a', 'b', 'c'" in called.line


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("gaussian", "--precision", "bfloat16"), "--precision"),
        (("gaussian", "--download"), "--download"),
        (("made", "--objective", "beta=2"), "--objective"),
        (("pixelcnn", "--objective", "iwae=5"), "--objective"),
        (("made", "--objective", "meanfield"), "--objective"),
    ],
)
def test_options_without_effect_are_refused(call, tmp_path, arguments, option):
    called = call("train", *arguments, "--data", "digits", "--out", tmp_path / "run")
    assert called.status == 2
    assert f"'{option}': it has no effect" in called.line


def test_draws_without_effect_are_named(call, tmp_path):
    assert call("train", "gaussian", "--data", "ring", "--out", tmp_path / "run").status == 0
    assert call("evaluate", tmp_path / "run", "-k", 7).err == "-k 7 has no effect: the log-likelihood is exact\n"
