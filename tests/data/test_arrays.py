"""Arrays of a user's own, read without pickle."""

import pickle

import numpy as np
import pytest
import torch

from pyrogen.data import load


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_an_npz_gives_a_column_for_each_key(tmp_path):
    rows = np.arange(100)
    arrays = {
        "x": (rows[:, None] * np.ones(3)).astype(np.float16),
        "y": (rows % 5).astype(np.uint8),
        "w": rows / 7,
        "m": rows > 3,
    }
    splits = load(save(tmp_path / "own.npz", **arrays))
    assert [part.rows for part in (splits.train, splits.validation, splits.test)] == [70, 10, 20]
    assert {key: column.dtype for key, column in splits.train.items()} == {
        "x": torch.float32,
        "y": torch.int64,
        "w": torch.float64,
        "m": torch.bool,
    }
    assert (splits.classes, splits.levels, splits.event_shape) == (5, None, (3,))
    assert splits.test["y"].bincount().tolist() == [4] * 5
    assert torch.equal(splits.train["x"][:, 0].long() % 5, splits.train["y"])


@pytest.mark.parametrize("shape", [(10, 4, 4), (10, 1, 4, 4)])
def test_bytes_in_the_shape_of_images_become_grey_values(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "own.npy", images)
    splits = load(tmp_path / "own.npy")
    assert splits.levels == 256
    assert splits.event_shape == shape[1:]
    x = torch.cat([splits.train["x"], splits.validation["x"], splits.test["x"]])
    assert x.dtype == torch.float32
    assert sorted((x * 255).round().long().flatten().tolist()) == sorted(images.flatten().tolist())
    assert splits.dequantized().log_scale > 0


def test_other_integers_stay_integers_and_a_boolean_x_becomes_zeros_and_ones(tmp_path):
    np.save(tmp_path / "counts.npy", np.arange(20, dtype=np.uint8).reshape(10, 2))
    counts = load(tmp_path / "counts.npy")
    assert counts.train["x"].dtype == torch.int64
    assert counts.levels is None
    np.save(tmp_path / "binary.npy", np.eye(10, dtype=bool))
    assert load(tmp_path / "binary.npy").train["x"].dtype == torch.float32


def test_bytes_in_foreign_order_are_read(tmp_path):
    np.save(tmp_path / "own.npy", np.arange(10, dtype=">f8"))
    assert (
        sum(part["x"].sum() for part in (lambda s: (s.train, s.validation, s.test))(load(tmp_path / "own.npy"))) == 45
    )


@pytest.mark.parametrize(
    ("arrays", "kind", "words"),
    [
        ({"x": np.zeros(9), "y": np.zeros(8)}, ValueError, ["different lengths", "'x' has 9", "'y' has 8"]),
        ({"x": np.zeros((0, 3))}, ValueError, ["empty"]),
        ({}, ValueError, ["no columns"]),
        ({"x": np.array([0, np.nan, np.inf])}, ValueError, ["'x'", "2 of 3 rows", "first in row 1"]),
        ({"x": np.array(["a", "b", "c"])}, TypeError, ["'x'", "dtype <U1", "expected numbers"]),
        ({"x": np.array([None, 1, 2])}, ValueError, ["pickled", "numpy.savez"]),
        ({"x": np.array([2**63, 1, 2], dtype=np.uint64)}, ValueError, ["above the range of int64"]),
        ({"total": np.zeros(9)}, ValueError, ["'total'", "reserved"]),
        ({"x": np.zeros(2)}, ValueError, ["cannot be split", "at least 3"]),
        ({"x": np.float32(1)}, ValueError, ["'x' is a scalar"]),
    ],
)
def test_unsuitable_arrays_are_refused_in_one_line(tmp_path, arrays, kind, words):
    path = save(tmp_path / "own.npz", **arrays)
    with pytest.raises(kind) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pickles_are_never_loaded(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    path.write_bytes(pickle.dumps({"x": [1, 2, 3]}))
    with pytest.raises(ValueError, match="pickled Python objects"):
        load(path)
    with path.open("wb") as file:
        np.save(file, np.array([None, 1]), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled Python objects"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"hello, world", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the file is damaged or no .npz file"):
        load(path)


def test_a_truncated_npz_is_refused(tmp_path):
    path = save(tmp_path / "own.npz", x=np.random.default_rng(0).normal(size=1000))
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:4000])
    with pytest.raises(ValueError, match="damaged"):
        load(path)
    content[3000] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load(path)
