"""Folders of images: grey and colour, subfolders as classes, and what is refused."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pyrogen.data import load


def draw(path, shape=(4, 6), value=None, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (
        np.full(shape, value, np.uint8)
        if value is not None
        else np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    )
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)


def test_subfolders_are_classes(tmp_path):
    for k in range(10):
        draw(tmp_path / "own" / "cats" / f"{k}.png", value=k)
        draw(tmp_path / "own" / "dogs" / "big" / f"{k}.PNG", value=100 + k)
    (tmp_path / "own" / "dogs" / "notes.txt").write_text("not an image")
    draw(tmp_path / "own" / ".hidden" / "0.png", (9, 9))
    splits = load(tmp_path / "own")
    assert (splits.event_shape, splits.classes, splits.levels) == ((1, 4, 6), 2, 256)
    assert (splits.train.rows, splits.validation.rows, splits.test.rows) == (14, 2, 4)
    for part in (splits.train, splits.validation, splits.test):
        assert torch.equal(part["y"], (part["x"][:, 0, 0, 0] * 255 >= 99.5).long())
        assert part["y"].bincount().tolist() == [part.rows // 2] * 2
    values = torch.cat([splits.train["x"], splits.validation["x"], splits.test["x"]])[:, 0, 0, 0] * 255
    assert sorted(values.round().int().tolist()) == [*range(10), *range(100, 110)]


def test_a_flat_folder_has_no_labels_and_colours_have_three_channels(tmp_path):
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[..., 1] = 255
    for k in range(3):
        Image.fromarray(colour).save(tmp_path / f"{k}.png")
    draw(tmp_path / "grey.png", value=7)
    draw(tmp_path / "palette.gif", value=9, mode="P")
    Image.fromarray(colour).convert("RGBA").save(tmp_path / "see-through.png")
    splits = load(tmp_path)
    assert set(splits.train) == {"x"}
    assert splits.event_shape == (3, 4, 6)
    x = torch.cat([splits.train["x"], splits.validation["x"], splits.test["x"]])
    assert x[:, 1].mean((1, 2)).eq(1).sum() == 4


def test_black_and_white_images_are_zeros_and_ones(tmp_path):
    for k in range(3):
        draw(tmp_path / f"{k}.png", mode="1")
    assert set(load(tmp_path).train["x"].unique().tolist()) == {0.0, 1.0}


def test_images_of_several_sizes_are_refused(tmp_path):
    draw(tmp_path / "a.png", (4, 6))
    draw(tmp_path / "b.png", (5, 6))
    with pytest.raises(ValueError, match=r"several sizes: .*a.png is 6 x 4, .*b.png is 6 x 5: resize them"):
        load(tmp_path)


def test_deep_images_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png has more than 8 bits a channel .*convert it"):
        load(tmp_path)


def test_damaged_images_are_refused(tmp_path):
    draw(tmp_path / "good.png", (40, 60))
    content = (tmp_path / "good.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(content[:200])
    with pytest.raises(ValueError, match=r"bad.png is damaged .*: delete or replace it"):
        load(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"bad.png is damaged or no image: delete or replace it"):
        load(tmp_path)


def test_images_beside_classes_and_folders_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no images in this folder; expected .png"):
        load(tmp_path)
    draw(tmp_path / "cats" / "0.png")
    draw(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=r"both in the folder \(loose.png, 1 in all\) and in subfolders"):
        load(tmp_path)


def in_splits(folder, names, classes=("a", "b"), rows=6):
    """A grey value of its own for each split, 20 apart, plus the class."""
    for k, name in enumerate(names):
        for c, each in enumerate(classes or ("",)):
            for row in range(rows):
                draw(folder / name / each / f"{row}.png", value=20 * (k + 1) + c)


def values(part):
    return sorted({round(v * 255) for v in part["x"].flatten().tolist()})


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test", "validation"),
        ("Train", "TEST", "val"),
        ("training", "testing", "valid"),
        ("train_images", "test_images", "dev"),
        ("train2017", "test2017", "val2017"),
    ],
)
@pytest.mark.parametrize("classes", [("cats", "dogs"), ()])
def test_folders_of_splits_are_the_splits(tmp_path, names, classes):
    in_splits(tmp_path / "own", names, classes)
    splits = load(tmp_path / "own")
    ends = range(len(classes) or 1)
    parts = (splits.train, splits.test, splits.validation)
    assert [values(part) for part in parts] == [[20 * (k + 1) + c for c in ends] for k in range(3)]
    assert splits.classes == (len(classes) or None)
    assert splits.notes[0].startswith("splits by folder")
    if classes:
        assert splits.class_names == classes
        assert all(torch.equal(part["y"], (part["x"][:, 0, 0, 0] * 255).round().long() % 20) for part in parts)


@pytest.mark.parametrize(("names", "rows"), [(("train", "test"), (11, 1, 12)), (("train", "val"), (9, 12, 3))])
def test_a_missing_split_is_taken_from_the_training_images(tmp_path, names, rows):
    in_splits(tmp_path, names)
    splits = load(tmp_path)
    assert (splits.train.rows, splits.validation.rows, splits.test.rows) == rows
    kept, drawn = (splits.test, splits.validation) if "test" in names else (splits.validation, splits.test)
    assert values(kept) == [40, 41]
    assert set(values(drawn)) <= set(values(splits.train)) == {20, 21}
    assert "% of it" in splits.notes[0]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("cats/train", "cats/test", "dogs/train"), ["'cats/train'", "expected train, test and validation"]),
        (("train/a", "extra/a"), ["'train'", "'extra'", "move or rename"]),
        (("all/train/a", "all/test/a"), ["'all/train'", "pass "]),
        (("train/a", "training/a", "test/a"), ["'training'"]),
        (("test/a", "val/a"), ["'test'", "expected train"]),
        (("train/a", "test/test/a"), ["'test/test'"]),
    ],
)
def test_splits_at_other_places_are_refused(tmp_path, paths, words):
    for path in paths:
        for row in range(3):
            draw(tmp_path / path / f"{row}.png")
    with pytest.raises(ValueError, match="called after a split") as caught:
        load(tmp_path)
    assert all(word in str(caught.value) for word in words), caught.value


def test_nested_classes_are_described_and_numbers_are_in_their_order(tmp_path, caplog):
    for name in ("0", "2", "10"):
        for row in range(3):
            draw(tmp_path / name / "deep" / f"{row}.png", value=int(name))
    splits = load(tmp_path)
    assert splits.class_names == ("0", "2", "10")
    assert "9 images lie deeper" in splits.notes[0]
    assert splits.notes[0] in caplog.text


def test_what_cannot_be_read_is_refused_and_waits_for_nobody(tmp_path):
    draw(tmp_path / "0.png")
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1.png is a FIFO .*; expected a regular file"):
        load(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="a link to nothing"):
        load(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path):
    parts = {b"IHDR": struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(b"")}
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in parts.items():
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"0.png says that it has more than [\d,]+ pixels"):
        load(tmp_path)


def test_more_images_than_the_memory_holds_are_refused(tmp_path, monkeypatch):
    in_splits(tmp_path, ("train", "test"))
    monkeypatch.setattr("pyrogen.data.files._memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"24 images of 6 x 4 takes .* GiB of memory"):
        load(tmp_path)
