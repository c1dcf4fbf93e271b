"""Folders of images: grey and colour, subfolders as classes, and what is refused."""

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
