"""Tables (.csv) and texts (.txt), with what they hold or why they are refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class File(NamedTuple):
    """A file of data: words of its refusal, none where it is read; and the rows of `x` that are right, if known."""

    path: Path
    words: tuple[str, ...] | None
    x: Any = None


def table(path: Path, rng: random.Random) -> File:
    """A table of numbers as people write them, right or with one fault."""
    rows, width = rng.randint(10, 20), rng.randint(1, 4)
    values = np.random.default_rng(rng.randrange(2**32)).normal(size=(rows, width)).round(3)
    return rng.choice(_TABLES)(path.with_suffix(rng.choice([".csv", ".CSV"])), values, rng)


def _lines(values: Any, separator: str = ",", decimal: str = ".") -> list[str]:
    return [separator.join(f"{v:.3f}".replace(".", decimal) for v in row) for row in values]


def _file(path: Path, lines: list[str], end: str = "\n", encoding: str = "utf-8") -> Path:
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def _plain(path: Path, values: Any, rng: random.Random) -> File:
    header = [",".join(f"{rng.choice(['c', 'größe ', '$x$', '<b>', 'a b'])}{k}" for k in range(values.shape[1]))]
    lines = (header if rng.random() < 0.5 else []) + _lines(values)
    if rng.random() < 0.3:
        lines.insert(0, "# a comment, with a comma")
    if rng.random() < 0.3:
        lines += ["", "# the end"]
    if rng.random() < 0.3:
        lines = [line.replace(",", " , ") for line in lines]
    encoding = rng.choice(["utf-8", "utf-8-sig"])
    return File(_file(path, lines, rng.choice(["\n", "\r\n"]), encoding), None, values)


def _quoted(path: Path, values: Any, rng: random.Random) -> File:
    lines = [",".join(f'"{cell}"' for cell in line.split(",")) for line in _lines(values)]
    return File(_file(path, lines), None, values)


def _separated(path: Path, values: Any, rng: random.Random) -> File:
    values = np.hstack([values, values])
    separator = rng.choice([";", "\t", "|", " "])
    decimal = rng.choice([".", ","]) if separator != " " else "."
    lines = _lines(values, separator, decimal)
    if rng.random() < 0.5:
        lines.insert(0, separator.join(f"c{k}" for k in range(values.shape[1])))
    return File(_file(path, lines), ("separated",) + (("decimal",) if decimal == "," else ()))


def _decimal_commas(path: Path, values: Any, rng: random.Random) -> File:
    quote = '"' if rng.random() < 0.5 else ""
    lines = [quote + line + quote for line in _lines(values[:, :1], decimal=",")]
    return File(_file(path, [rng.choice(["value", "länge", "c 1"]), *lines]), ("decimal",))


def _years(path: Path, values: Any, rng: random.Random) -> File:
    values = np.hstack([values, values])
    first = rng.randint(1900, 2010)
    header = ",".join(str(first + k) for k in range(values.shape[1]))
    return File(_file(path, [header, *_lines(values)]), ("header of numbers",))


def _bad_cell(path: Path, values: Any, rng: random.Random) -> File:
    lines, row = _lines(values), rng.randint(2, len(values) - 1)
    cells = lines[row].split(",")
    column = rng.randrange(len(cells))
    bad = rng.choice(["", "x", "1_000", "0x1F", "TRUE", "12%", "€3", "1.2.3", "--1", "1e", "\x00", "NA", "#N/A", "1 2"])
    cells[column] = bad
    lines[row] = ",".join(cells)
    if lines[row].strip() == "" or lines[row].lstrip().startswith("#"):
        lines[row] = "x"
    return File(_file(path, lines), (f"line {row + 1}",))


def _not_finite(path: Path, values: Any, rng: random.Random) -> File:
    lines, row = _lines(values), rng.randrange(2, len(values))
    cells = lines[row].split(",")
    cells[rng.randrange(len(cells))] = rng.choice(["nan", "NaN", "inf", "-Infinity", "1e400", "1e39", "-inf"])
    lines[row] = ",".join(cells)
    return File(_file(path, lines), ("NaN or infinite",))


def _ragged(path: Path, values: Any, rng: random.Random) -> File:
    values = np.hstack([values, values])
    lines, row = _lines(values), rng.randrange(1, len(values))
    cells = lines[row].split(",")
    lines[row] = ",".join(cells[:-1] if rng.random() < 0.5 else [*cells, "1.5"])
    return File(_file(path, lines), (f"line {row + 1}", "cells"))


def _few(path: Path, values: Any, rng: random.Random) -> File:
    lines = rng.choice([[], ["a,b"], ["# nothing"], [""], ["a,b", "# c"]])
    return File(_file(path, lines), ("empty",))


def _labels(path: Path, values: Any, rng: random.Random) -> File:
    name = rng.choice(["y", "label", "Y", "Label"])
    lines = [f"{line},{k % 3}" for k, line in enumerate(_lines(values))]
    header = [f"c{k}" for k in range(values.shape[1])] + [name]
    return File(_file(path, [",".join(header), *lines]), None, values)


def _other_encoding(path: Path, values: Any, rng: random.Random) -> File:
    encoding = rng.choice(["utf-16", "latin-1", "utf-32"])
    return File(_file(path, ["größe" + ",c" * (values.shape[1] - 1), *_lines(values)], encoding=encoding), ("UTF-8",))


_TABLES: list[Callable[[Path, Any, random.Random], File]] = [
    *([_plain] * 3),
    _quoted,
    _separated,
    _decimal_commas,
    _years,
    _bad_cell,
    _bad_cell,
    _not_finite,
    _ragged,
    _few,
    _labels,
    _other_encoding,
]


def text(path: Path, rng: random.Random) -> File:
    """A text, a datum on each line."""
    path = path.with_suffix(".txt")
    lines = [
        "".join(rng.choice("abcü€ 😀") for _ in range(rng.randint(1, 9))) + "z" for _ in range(rng.randint(10, 30))
    ]
    kinds: list[tuple[bytes, tuple[str, ...] | None]] = [
        ("\n".join(lines).encode(), None),
        ("\r\n".join([*lines, ""]).encode("utf-8-sig"), None),
        ("\n".join(lines).encode("utf-16"), ("UTF-8",)),
        (b"\xff\xfe\x00" + b"abc", ("UTF-8",)),
        (b"", ("empty",)),
        (b" \n\t\n\n", ("empty",)),
        (("a" * 1001 + "\n" + "\n".join(lines)).encode(), ("1001",)),
        (lines[0].encode(), ("split", "3")),
    ]
    content, words = rng.choice(kinds)
    path.write_bytes(content)
    return File(path, words, None)
