"""Arrays (.npy, .npz), folders of images, and what is no file, with what they hold or why they are refused."""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fuzz.tables import File


def _saved(path: Path, **columns: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, **columns)
    return path


def _npy(path: Path, array: Any) -> Path:
    with path.open("wb") as file:
        np.save(file, array)
    return path


def array(path: Path, rng: random.Random) -> File:
    """Arrays of any type and shape, right or with one fault."""
    draws = np.random.default_rng(rng.randrange(2**32))
    x = draws.normal(size=(rng.randint(10, 20), rng.randint(1, 4)))
    return rng.choice(_ARRAYS)(path, x, rng)


def _types(path: Path, x: Any, rng: random.Random) -> File:
    kind = rng.choice(["<f2", "<f4", "<f8", ">f4", ">f8", "i1", "<i2", ">i4", "<i8", "u1", "<u2", "<u4", "<u8", "?"])
    values = (x * 10).astype(kind) if "u" not in kind else np.abs(x * 10).astype(kind)
    values = np.asfortranarray(values) if rng.random() < 0.3 else values
    if rng.random() < 0.5:
        return File(_npy(path.with_suffix(".npy"), values), None, values)
    return File(_saved(path.with_suffix(".npz"), x=values), None, values)


def _other_types(path: Path, x: Any, rng: random.Random) -> File:
    kinds: list[tuple[Any, tuple[str, ...]]] = [
        (x.astype(complex), ("complex",)),
        (x.astype(str), ("dtype",)),
        (x.astype(object), ("pickle",)),
        (x.astype(bytes), ("dtype",)),
        ((x * 10).astype("datetime64[s]"), ("dtype",)),
        (np.zeros(5, dtype=[("a", "f4"), ("b", "i4")]), ("dtype",)),
        (np.full((10, 2), 2**63, dtype=np.uint64), ("int64",)),
        (np.zeros((0, 3)), ("empty",)),
        (np.float32(3), ("scalar",)),
        (np.where(x > 100, x, np.nan), ("NaN or infinite",)),
        (np.where(np.arange(len(x))[:, None] == 3, np.inf, x), ("NaN or infinite", "row 3")),
        (x[:1], ("split",)),
        (np.full((12, 1, 4, 4), 300, dtype=np.int32), ("255",)),
        (np.full((12, 4, 4), 60000, dtype=np.uint16), ("255",)),
    ]
    values, words = rng.choice(kinds)
    return File(_npy(path.with_suffix(".npy"), values), words)


def _keys(path: Path, x: Any, rng: random.Random) -> File:
    y = np.arange(len(x)) % 2
    kinds: list[tuple[dict[str, Any], tuple[str, ...] | None]] = [
        ({"x": x, "y": y[:-1]}, ("different lengths",)),
        ({"x": x, rng.choice(["n", "total", "index"]): y}, ("reserved",)),
        ({}, ("no columns",)),
        ({"x": x, "y": y, "weights <b>$w$": y}, None),
        ({"x": x, "y": np.float64(2)}, ("'y'", "scalar")),
        ({"x": x, "y": y.astype(object)}, ("pickle",)),
    ]
    columns, words = rng.choice(kinds)
    return File(_saved(path.with_suffix(".npz"), **columns), words, x if words is None else None)


def _lying(path: Path, x: Any, rng: random.Random) -> File:
    """A header that says another shape, type or order than the bytes have."""
    shapes = [
        "(10000000000, 1000)",
        "(-1, 4)",
        "(3, 4, 5)",
        "()",
        "(99999999999999999999999,)",
        "(1.5,)",
        "'x'",
        "(True,)",
    ]
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {rng.choice(shapes)}}}"
    if rng.random() < 0.3:
        header = rng.choice(
            ["{", "", "{'descr': '<f8'}", "__import__('os')", "{'descr': 3, 'fortran_order': 0, 'shape': ()}"]
        )
    text = header.ljust(117).encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + x.tobytes()
    path = path.with_suffix(rng.choice([".npy", ".npz"]))
    if path.suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    return File(path, ("save",))


def _damaged(path: Path, x: Any, rng: random.Random) -> File:
    source = io.BytesIO()
    if rng.random() < 0.5:
        np.savez_compressed(source, x=x)
    else:
        np.savez(source, x=x)
    content = bytearray(source.getvalue())
    kind = rng.choice(["cut", "emptied", "noise", "text", "pickle", "bomb", "other entry", "crc"])
    if kind == "crc":
        content[len(content) // 2] ^= 255
    made = {
        "cut": content[: rng.randrange(1, len(content))],
        "emptied": b"",
        "noise": rng.randbytes(200),
        "text": b"1,2\n3,4\n",
        "pickle": b"\x80\x04N.",
        "crc": bytes(content),
    }
    path = path.with_suffix(".npz")
    if kind in made:
        path.write_bytes(made[kind])
        return File(path, ("save",))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy" if kind == "bomb" else "notes.txt", b"0" * 10**6)
    return File(path, ("save",))


def _no_file(path: Path, x: Any, rng: random.Random) -> File:
    suffix = rng.choice([".npz", ".npy", ".csv", ".txt"])
    path = path.with_suffix(suffix)
    kind = rng.choice(["fifo", "folder", "device", "loop", "nothing"])
    if kind == "fifo":
        os.mkfifo(path)
        return File(path, ("FIFO",))
    if kind == "folder":
        path.mkdir()
        return File(path, ("no images",))
    if kind == "device":
        path.symlink_to("/dev/zero")
        return File(path, ("device",))
    path.symlink_to(path if kind == "loop" else path.with_name("nothing_here"))
    return File(path, ("no such file",))


_ARRAYS: list[Callable[[Path, Any, random.Random], File]] = [
    _types,
    _types,
    _types,
    _other_types,
    _other_types,
    _keys,
    _lying,
    _damaged,
    _damaged,
    _no_file,
]


def folder(path: Path, rng: random.Random) -> File:
    """A folder of images: with classes, splits, other files, or one fault."""
    images = [Image.fromarray(np.full((4, 4), 10 * k, dtype=np.uint8)) for k in range(12)]
    path.mkdir()
    classes = rng.choice(
        [[""], ["a", "b"], ["1", "10", "2"], ["<b>", "$x$"], ["train", "test"], ["Train/a", "val/a", "test/a"]]
    )
    for k, image in enumerate(images):
        place = path / classes[k % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{k}.png")
    fault = rng.choice([None, None, *_FOLDER_FAULTS])
    words = None if fault is None else _FOLDER_FAULTS[fault](path, next(iter(path.rglob("*.png"))))
    if rng.random() < 0.3:
        (path / "notes.txt").write_text("no image")
        (path / ".hidden.png").write_text("no image")
    return File(path, words)


def _write(path: Path, content: bytes, *words: str) -> tuple[str, ...]:
    path.write_bytes(content)
    return words or (path.name,)


def _larger(path: Path, file: Path) -> tuple[str, ...]:
    Image.new("L", (5, 4)).save(file)
    return ("several sizes",)


def _deep(path: Path, file: Path) -> tuple[str, ...]:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(file)
    return ("8 bits",)


def _fifo(path: Path, file: Path) -> tuple[str, ...]:
    os.mkfifo(file.with_name("f.png"))
    return ("FIFO",)


def _link(path: Path, file: Path) -> tuple[str, ...]:
    file.with_name("l.png").symlink_to("nothing")
    return ("link to nothing",)


def _bomb(path: Path, file: Path) -> tuple[str, ...]:
    """A header of 60,000 x 60,000 pixels and none behind it."""
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    for kind, data in {b"IHDR": header, b"IDAT": zlib.compress(b"")}.items():
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    file.write_bytes(content)
    return ("pixels",)


def _misplaced(path: Path, file: Path) -> tuple[str, ...]:
    place = path / "c" / "train"
    place.mkdir(parents=True)
    Image.new("L", (4, 4)).save(place / "k.png")
    return ("train",)


_FOLDER_FAULTS: dict[str, Callable[[Path, Path], tuple[str, ...]]] = {
    "larger": _larger,
    "deep": _deep,
    "fifo": _fifo,
    "link": _link,
    "bomb": _bomb,
    "misplaced": _misplaced,
    "damaged": lambda path, file: _write(file, file.read_bytes()[:40]),
    "no image": lambda path, file: _write(file, b"no image", file.name),
    "empty": lambda path, file: _write(file, b"", file.name),
}
