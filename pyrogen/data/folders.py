"""A user's own images: a folder of files of one size, subfolders as classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pyrogen.data.arrays import file_splits
from pyrogen.data.images import as_grey
from pyrogen.data.splits import Splits

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_GREY = ("1", "L")
_MORE_THAN_8_BITS = ("I", "F")


def read_folder(folder: Path, name: str) -> Splits:
    """Read a folder of images of one size, split 70/10/20.

    `x` (N, C, H, W) = value / 255, float32; `y` (N,) int64 is the number of the subfolder, in order of names, and
    without subfolders there is none. C = 1 where every image is grey (modes 1 and L), else 3, without transparency.
    Hidden files and files of other kinds are ignored. No images, several sizes, images both in the folder and in
    subfolders, more than 8 bits a channel and damaged files are refused with a ValueError.

    Args:
        folder: the folder.
        name: what messages and reports call the data.

    Returns:
        The splits, with 256 grey levels.
    """
    classes, files = _listing(folder, name)
    size, mode = _common_form(files, name)
    x = np.empty((len(files), 1 if mode == "L" else 3, size[1], size[0]), dtype=np.uint8)
    for target, file in zip(x, files, strict=True):
        target[:] = _pixels(file, mode, name)
    columns = {"x": as_grey(x)}
    if classes:
        code = {part: k for k, part in enumerate(classes)}
        columns["y"] = torch.tensor([code[file.relative_to(folder).parts[0]] for file in files])
    return file_splits(columns, name, levels=256)


def _listing(folder: Path, name: str) -> tuple[list[str], list[Path]]:
    """Names of the subfolders that hold images (at any depth), and the images in order of their paths."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _SUFFIXES and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    )
    if not files:
        raise ValueError(
            f"{name}: no images in this folder; expected {' '.join(_SUFFIXES)} files, or subfolders of them"
        )
    outside = [file.name for file in files if file.parent == folder]
    if outside and len(outside) < len(files):
        raise ValueError(
            f"{name}: images both in the folder ({outside[0]}, {len(outside)} in all) and in subfolders; expected one "
            "or the other: move them into the subfolder of a class"
        )
    return ([] if outside else sorted({file.relative_to(folder).parts[0] for file in files})), files


def _common_form(files: list[Path], name: str) -> tuple[tuple[int, int], str]:
    """The one size (width, height), and the mode to read in: L where all are grey, else RGB; reads headers only."""
    from PIL import Image, UnidentifiedImageError

    first: tuple[int, int] | None = None
    grey = True
    for file in files:
        try:
            with Image.open(file) as image:
                size, mode = image.size, image.mode
        except UnidentifiedImageError as error:
            raise ValueError(f"{name}: {file} is damaged or no image: delete or replace it") from error
        first = first or size
        if size != first:
            expected, got = (f"{w} x {h}" for w, h in (first, size))
            raise ValueError(f"{name}: images of several sizes: {files[0]} is {expected}, {file} is {got}: resize them")
        if mode.startswith(_MORE_THAN_8_BITS):
            raise ValueError(f"{name}: {file} has more than 8 bits a channel (mode {mode}): convert it to 8 bits")
        grey = grey and mode in _GREY
    assert first is not None
    return first, "L" if grey else "RGB"


def _pixels(file: Path, mode: str, name: str) -> NDArray[np.uint8]:
    """One image as bytes (C, H, W)."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: {file} is damaged ({error}): delete or replace it") from error
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
