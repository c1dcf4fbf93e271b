"""A user's own images: a folder of files of one size, subfolders as splits or classes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrogen.data.columns import Columns
from pyrogen.data.files import check_memory, check_regular
from pyrogen.data.images import as_grey
from pyrogen.data.partition import count_classes, partition, split_columns
from pyrogen.data.splits import Splits

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_GREY = ("1", "L")
_MORE_THAN_8_BITS = ("I", "F")
_SPLITS = {
    "train": r"train(ing)?",
    "validation": r"val(id(ation)?)?|dev(el(opment)?)?",
    "test": r"test(ing)?|eval(uation)?|hold-?out|held-?out",
}
_SPLIT_ENDING = r"([ _.-]*(set|data|split|images?|imgs?|samples?|\d+))*"
_SHOWN = 10
"""Names that a line lists."""


def read_folder(folder: Path, name: str) -> Splits:
    """Read a folder of images of one size, in the splits of its subfolders, else split 70/10/20.

    Subfolders `train`, `test` and `validation` (or `val`, `valid`, ..., in any case) are the splits; one that is
    missing is taken from `train`: 20 in a hundred for the test, 10 for validation. Subfolders of a split, or without
    splits of the folder, are classes: `y` (N,) int64 is the number of the class, in order of names (of numbers, where
    all names are numbers), and without subfolders there is none. `x` (N, C, H, W) = value / 255, float32; C = 1 where
    every image is grey (modes 1 and L), else 3, without transparency. Hidden files and files of other kinds are
    ignored. No images, several sizes, images both in a folder and in its subfolders, names of splits at other places,
    more than 8 bits a channel, damaged files and more than the memory holds are refused with a ValueError.

    Args:
        folder: the folder.
        name: what messages and reports call the data.

    Returns:
        The splits, with 256 grey levels; their notes say how subfolders were read.
    """
    files = _listing(folder, name)
    splits = _splits_of_folders(folder, files, name)
    roots = {part: folder / top for part, top in splits.items()} or {"all": folder}
    parts = {part: [file for file in files if file.is_relative_to(root)] for part, root in roots.items()}
    classes, deeper = _classes(roots, parts, name)
    x = _read(files, name)
    columns = {"x": as_grey(x)}
    if classes:
        of_file = {file: file.relative_to(roots[part]).parts[0] for part, some in parts.items() for file in some}
        columns["y"] = torch.tensor([classes.index(of_file[file]) for file in files])
    row = {file: k for k, file in enumerate(files)}
    rows = {part: torch.tensor([row[file] for file in some]) for part, some in parts.items()}
    notes = [*_describe_splits(splits), *_describe_classes(classes, deeper)]
    train, validation, test = _arrange(columns, rows, name) if splits else split_columns(columns, name)
    names = tuple(classes) or None
    number = count_classes(columns)
    return Splits(name, train, validation, test, number, 256, class_names=names, notes=tuple(notes))


def _listing(folder: Path, name: str) -> list[Path]:
    """The images, in order of their paths."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and not any(p.startswith(".") for p in file.relative_to(folder).parts)
        and not file.is_dir()
    )
    if not files:
        raise ValueError(
            f"{name}: no images in this folder; expected {' '.join(_SUFFIXES)} files, or subfolders of them"
        )
    for file in files:
        check_regular(file, name)
    return files


def _split_of(directory: str) -> str | None:
    """The split that a folder is called after."""
    return next(
        (s for s, names in _SPLITS.items() if re.fullmatch(rf"(.+[ _.-])?({names}){_SPLIT_ENDING}", directory.lower())),
        None,
    )


def _splits_of_folders(folder: Path, files: list[Path], name: str) -> dict[str, str]:
    """The subfolder of each split; none where no folder is called after one."""
    paths = [file.relative_to(folder).parts[:-1] for file in files]
    named = sorted({"/".join(path[: k + 1]) for path in paths for k, part in enumerate(path) if _split_of(part)})
    if not named:
        return {}
    found: dict[str, str] = {}
    tops = sorted({path[0] for path in paths if path})
    for top in tops:
        found.setdefault(_split_of(top) or "", top)
    if all(paths) and len(found) == len(tops) == len(named) and "" not in found and "train" in found:
        return found
    inside = f": pass {folder / tops[0]}" if len(tops) == 1 and "" in found else ": move or rename folders"
    raise ValueError(
        f"{name}: {_listed(named)} {'is' if len(named) == 1 else 'are'} called after a split, and the folder holds "
        f"{_listed(tops)}; expected train, test and validation and nothing beside them, or no such names{inside}"
    )


def _classes(roots: Mapping[str, Path], parts: Mapping[str, list[Path]], name: str) -> tuple[list[str], int]:
    """The classes, the subfolders of the roots that hold images, and how many images lie deeper than those."""
    depths = {file: len(file.relative_to(roots[part]).parts) for part, some in parts.items() for file in some}
    outside = [file for file, depth in depths.items() if depth == 1]
    if outside and len(outside) < len(depths):
        raise ValueError(
            f"{name}: images both in the folder ({outside[0].name}, {len(outside)} in all) and in subfolders; expected "
            "one or the other: move them into the subfolder of a class"
        )
    classes = {file.relative_to(roots[part]).parts[0] for part, some in parts.items() for file in some if not outside}
    numbers = all(re.fullmatch(r"\d+", each) for each in classes)
    return sorted(classes, key=int if numbers else None), sum(depth > 2 for depth in depths.values())


def _describe_splits(splits: Mapping[str, str]) -> list[str]:
    """How folders were taken for splits."""
    if not splits:
        return []
    missing = [f"{part} is {share} % of it" for part, share in (("validation", 10), ("test", 20)) if part not in splits]
    found = ", ".join(f"{part} from {top}/" for part, top in splits.items())
    return [f"splits by folder: {found}{''.join(f'; {each}' for each in missing)}"]


def _describe_classes(classes: list[str], deeper: int) -> list[str]:
    """How folders were taken for classes."""
    nested = f"; {deeper} images lie deeper, and belong to the folder below which they are" if deeper else ""
    return [f"folders are classes, in column 'y': {_listed(classes)}{nested}"] if classes else []


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{each}'" for each in names[:_SHOWN]) + more


def _arrange(columns: Mapping[str, Tensor], rows: Mapping[str, Tensor], name: str) -> tuple[Columns, Columns, Columns]:
    """Columns in the splits that have rows; one that has none is drawn from the training rows, by their classes."""
    train, kept = rows["train"], dict(rows)
    if len(rows) < 3:
        if len(train) < 3:
            raise ValueError(f"{name}: {len(train)} image(s) in train cannot be split; expected at least 3: add some")
        labels = columns["y"][train].numpy() if "y" in columns else None
        drawn = dict(zip(("train", "validation", "test"), partition(len(train), labels), strict=True))
        missing = {part: train[torch.from_numpy(drawn[part])] for part in ("validation", "test") if part not in rows}
        taken = torch.isin(train, torch.cat(list(missing.values())))
        kept |= missing | {"train": train[~taken]}
    parts = [Columns({key: c[kept[part]] for key, c in columns.items()}) for part in ("train", "validation", "test")]
    return parts[0], parts[1], parts[2]


def _read(files: list[Path], name: str) -> NDArray[np.uint8]:
    """The images as bytes (N, C, H, W)."""
    (width, height), mode = _common_form(files, name)
    shape = (len(files), 1 if mode == "L" else 3, height, width)
    check_memory(5 * int(np.prod(shape, dtype=object)), name, f"{len(files)} images of {width} x {height}")
    x = np.empty(shape, dtype=np.uint8)
    for target, file in zip(x, files, strict=True):
        target[:] = _pixels(file, mode, name)
    return x


def _common_form(files: list[Path], name: str) -> tuple[tuple[int, int], str]:
    """The one size (width, height), and the mode to read in: L where all are grey, else RGB; reads headers only."""
    from PIL import Image, UnidentifiedImageError

    damaged = "is damaged or no image: delete or replace it"
    first: tuple[int, int] | None = None
    grey = True
    for file in files:
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file) as image:  # of many pixels
                size, mode = image.size, image.mode
        except Image.DecompressionBombError as error:
            raise ValueError(
                f"{name}: {file} says that it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, as a damaged "
                "or hostile file does: delete it, or make it smaller"
            ) from error
        except (UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise ValueError(f"{name}: {file} {damaged}") from error
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
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            pixels = np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: {file} is damaged ({error}): delete or replace it") from error
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
