"""Arrays of a user's own, read without pickle."""

import os
import pickle
import zipfile

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


@pytest.mark.parametrize("kind", ["uint16", "int16", "int32", "int64", ">i4", "uint64"])
def test_whole_numbers_in_the_shape_of_images_are_grey_values(tmp_path, kind):
    x = np.random.default_rng(0).integers(0, 256, (10, 1, 4, 5))
    bytes_, wide = (load(save(tmp_path / f"{k}.npz", x=x.astype(k))) for k in ("uint8", kind))
    assert wide.levels == bytes_.levels == 256
    assert torch.equal(wide.train["x"], bytes_.train["x"])
    assert "taken for 256 grey levels" in wide.notes[0]


@pytest.mark.parametrize(("kind", "high"), [("uint16", 65535), ("int64", 1023), ("int32", 256), ("uint16", 4095)])
def test_deeper_images_are_refused_with_what_to_type(tmp_path, kind, high):
    x = np.random.default_rng(0).integers(0, high + 1, (10, 1, 4, 5)).astype(kind)
    x[0, 0, 0, 0] = high
    with pytest.raises(ValueError, match=rf"from \d+ to {high} in the shape of images; .*astype\('float32'\)"):
        load(save(tmp_path / "own.npz", x=x))


@pytest.mark.parametrize("kind", ["uint8", "float32", "int64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_that_come_last_are_recognized_by_size(tmp_path, kind, channels):
    x = np.random.default_rng(0).integers(0, 256, (10, 6, 8, channels)).astype(kind)
    last = load(save(tmp_path / "last.npz", x=x))
    first = load(save(tmp_path / "first.npz", x=x.transpose(0, 3, 1, 2)))
    assert torch.equal(last.train["x"], first.train["x"])
    assert last.event_shape == (channels, 6, 8)
    assert "channels last" in last.notes[0]


def header(shape, kind="<f8"):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("shape", "present"), [((10**12, 3), 24), ((5, 3), 24), ((1, 3), 240), ((2**40, 2**40), 0), ((3,), 0)]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_lies_is_refused_before_memory_is_asked_for(tmp_path, shape, present, suffix):
    path, content = tmp_path / f"own{suffix}", header(shape) + bytes(present)
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match=rf"the header of 'x' says .* and {present:,} follow it: save it again"):
        load(path)


def test_more_than_the_memory_holds_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000)))
    monkeypatch.setattr("pyrogen.data.files._memory", lambda: 10**6)
    with pytest.raises(ValueError, match=r"the content of own.npz takes .* GiB, and there are .* GiB of memory"):
        load(path)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv", ".txt"])
def test_what_is_no_regular_file_is_refused_and_waits_for_nobody(tmp_path, suffix):
    os.mkfifo(tmp_path / f"own{suffix}")
    with pytest.raises(ValueError, match=r"is a FIFO .*; expected a regular file"):
        load(tmp_path / f"own{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="is a device; expected a regular file"):
        load(tmp_path / f"zero{suffix}")


@pytest.mark.parametrize("labels", [[10**9, 0, 1], [20_000, 5, 5], [2**62, 2**62, 0]])
def test_numbers_beyond_all_rows_are_no_classes(tmp_path, labels):
    assert load(save(tmp_path / "own.npz", x=np.zeros((30, 2)), y=np.tile(labels, 10))).classes is None
