"""Data sets by name, files by path, and the folder that holds them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyrogen.data as data
from pyrogen.data import data_root, describe, load


def test_the_face_is_complete():
    assert all(hasattr(data, name) for name in data.__all__)
    assert list(data.__all__) == sorted(data.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))


def test_every_data_set_is_described_in_a_line(tmp_path):
    named = dict(describe())
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "linear_gaussian", "ring"} <= set(named)
    assert all("\n" not in summary for summary in named.values())


@pytest.mark.parametrize("name", ["Digits", "DIGITS", Path("digits")])
def test_names_are_found_whatever_their_case(name):
    assert load(name).name == "digits"


def test_options_are_passed_on():
    splits = load("digits", binarize="static", seed=4)
    assert (splits.binarize, splits.seed) == ("static", 4)
    assert load("digits", None, "dynamic").train.transform is not None
    noisy = load("digits", binarize="none", dequantize=True)
    assert (noisy.binarize, noisy.dequantize) == ("none", True)
    assert load("digits").binarize is None


def test_the_root_is_the_argument_then_the_environment_then_the_run_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROGEN_DATA", "/environment")
    assert data_root("/argument", recorded="/run") == Path("/argument")
    assert data_root(recorded="/run") == Path("/environment")
    monkeypatch.delenv("PYROGEN_DATA")
    assert data_root(recorded="/run") == Path("/run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_root() == tmp_path / "pyrogen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == tmp_path / ".cache" / "pyrogen"


def test_files_are_found_under_the_root(tmp_path):
    np.save(tmp_path / "own.npy", np.zeros(10))
    splits = load("own.npy", tmp_path)
    assert (splits.name, splits.train.rows) == ("own.npy", 7)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: load("mnsit"), ValueError, ["unknown data 'mnsit'", "digits, mnist", ".npz", "did you mean 'mnist'?"]),
        (lambda: load(""), ValueError, ["unknown data ''"]),
        (lambda: load("no/such/file.npz"), FileNotFoundError, ["no/such/file.npz", "tried", "--data-dir"]),
        (lambda: load(np.zeros(3)), TypeError, ["expected a name or a path", "ndarray"]),
        (lambda: load("digits", binarize="sttic"), ValueError, ["binarize", "'sttic'", "did you mean 'static'?"]),
        (lambda: load("digits", binarize="static", dequantize=True), ValueError, ["exclude each other"]),
        (lambda: load("ring", binarize="static"), ValueError, ["ring", "within [0, 1]"]),
        (lambda: load("ring", dequantize=True), ValueError, ["ring", "grey levels"]),
        (lambda: load("digits", seed=-2), ValueError, ["seed", "-2"]),
    ],
)
def test_bad_requests_are_refused_in_one_line(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("name", ["weights.pt", "table"])
def test_files_of_other_kinds_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected .npz, .npy, .csv, .txt or a folder of images, got a"):
        load(tmp_path / name)


def test_heavy_libraries_load_only_when_used():
    code = (
        "import sys, pyrogen.data\nprint([name for name in ('torchvision', 'sklearn', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["a\nb.csv", "\x1b[31mred.csv", "a\tb.txt"])
def test_names_of_files_do_not_break_the_one_line_of_a_refusal(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match="empty") as caught:
        load(tmp_path / name)
    assert str(caught.value).isprintable()
