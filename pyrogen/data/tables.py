"""A user's own tables: .csv files of numbers."""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pyrogen.data.arrays import file_splits
from pyrogen.data.splits import Splits

_LABELS = ("y", "label")
_LIKE_LABELS = ("labels", "class", "classes", "target", "targets", "category", "species", "cluster", "id", "index")
_COORDINATES = {"x", "y", "z"}
_NAMES = {"\t": "tabs", r"\s+": "spaces"}
_YEARS = range(1500, 2200)
_AS_DECIMALS = (
    "if the commas are decimal ones, write the table anew by pandas.read_csv(FILE, sep=';', decimal=',')"
    ".to_csv(FILE, index=False)"
)
_ROWS_COMPARED = 100
"""Rows with which a first line is compared that may be a header."""


def read_csv(file: Path, name: str) -> Splits:
    """Read a table of numbers with an optional header, split 70/10/20.

    A header column `y` or `label` becomes `y` (N,): int64 where all its numbers are whole, else float32; in a table of
    points, whose columns are called x, y (and z), a `y` that is not whole is a coordinate. The other columns form `x`
    (N, D) float32, in order. Lines that begin with `#` are left out; the first one, where it holds a name for each
    column, is the header.

    Args:
        file: the file, in UTF-8.
        name: what messages and reports call the data.

    Returns:
        The splits; their notes say which columns were taken for labels, or could be.

    Raises:
        ValueError: a cell is no number (with its line and column), rows differ in length, there are none, cells are
            not separated by commas, or the first line may be a header of numbers.
    """
    notes: list[str] = []
    try:
        header = _header(file, name, notes)
        table = _parse(file, name, header)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name}: no text in UTF-8 ({error}); expected lines of numbers: save it as UTF-8") from error
    label = _label(header or [], table, name, notes)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which `check_columns` refuses
        columns = {"x": torch.from_numpy(np.delete(table, label, axis=1).astype(np.float32))}
        if label:
            y = table[:, label[0]]
            columns["y"] = torch.from_numpy(y.astype(np.int64 if _whole(y) else np.float32))
    return file_splits(columns, name, notes=notes)


def _label(header: Sequence[str], table: NDArray[np.float64], name: str, notes: list[str]) -> list[int]:
    """The position of the column of labels, if there is one, and a note of what became of such columns."""
    label = [k for k, cell in enumerate(header) if cell.lower() in _LABELS]
    if len(label) > 1:
        raise ValueError(f"{name}: expected one column of labels, got {len(label)} (y, label): rename all but one")
    if table.shape[1] == len(label):
        raise ValueError(f"{name}: there is no column besides the labels; expected at least one, to form x: add it")
    like = [cell for cell in header if cell.lower() in _LIKE_LABELS]
    if like:
        notes.append(f"column {like[0]!r} is one of the values of x; if it holds labels, call it 'y'")
    if not label:
        return []
    called, values = header[label[0]], table[:, label[0]]
    if {cell.lower() for cell in header} <= _COORDINATES and not _whole(values):
        points = ", ".join(repr(cell) for cell in header)
        notes.append(f"columns {points} are coordinates, which form x; if {called!r} is no coordinate, call it 'label'")
        return []
    kind = "the labels" if _whole(values) else "numbers to condition on"
    notes.append(f"column {called!r} holds {kind}, column y of the data, and is not in x; if it should be, rename it")
    return label


def _whole(values: NDArray[np.float64]) -> bool:
    return bool((np.abs(values) < 2**53).all() and (values == np.round(values)).all())


def _content(file: Path) -> Iterator[str]:
    """The lines of a table, comments blank, so that lines keep their numbers; a header in a comment is a line."""
    header = _commented_header(file)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for number, line in enumerate(lines):
            comment = line.lstrip().startswith("#")
            yield line.lstrip("# ") if number == header else "\n" if comment else line


def _commented_header(file: Path) -> int | None:
    """The number of the comment that names each column, as `numpy.savetxt` writes it, before the first line."""
    found, names = None, 0
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for number, line in enumerate(lines):
            cells = next(csv.reader([line.strip().lstrip("# ")]), [])
            if not line.strip().startswith("#"):
                if cells:
                    return found if names == len(cells) and all(_number(cell) is not None for cell in cells) else None
            elif len(cells) > 1 and all(_number(cell) is None for cell in cells):
                found, names = number, len(cells)
    return None


def _header(file: Path, name: str, notes: list[str]) -> list[str] | None:
    """The cells of the first line where one of them is no number, else None."""
    first = next(filter(None, csv.reader(_content(file))), None)
    if first is None:
        raise ValueError(f"{name}: the data set is empty (0 rows); expected lines of numbers, separated by commas")
    if all(_number(cell) is not None for cell in first):
        if _looks_like_header(first, _some_rows(file)):
            raise ValueError(
                f"{name}: the first line, {_shortened(first)}, looks like a header of numbers; expected names that are "
                "no numbers, or numbers alone: write them as c1, c2, ...; or, if the line holds data, as "
                f"{first[0].strip()}.0, ..."
            )
        _check_commas([first, *_some_rows(file)], name, notes)
        return None
    header = [cell.strip() for cell in first]
    if "" in header:
        position = header.index("") + 1
        raise ValueError(
            f"{name}: line 1, column {position} is empty; expected a number, or a name in a header: fill it, or leave "
            "the column out (index=False)"
        )
    numbers = [cell for cell in header if _number(cell) is not None]
    if not all(map(str.isdigit, numbers)):
        raise ValueError(f"{name}: {_first_fault(file, None)}")
    if numbers:
        notes.append(f"the first line, {_shortened(header)}, is taken for a header")
    return header


def _check_commas(rows: Sequence[Sequence[str]], name: str, notes: list[str]) -> None:
    """Two columns of whole numbers may be one with decimal commas: refused where zeros lead in the second, or said."""
    if not all(len(row) == 2 and _is_whole(row[0]) and row[1].strip().isdigit() for row in rows):
        return
    written = next((row for row in rows if re.fullmatch(r"0\d+", row[1].strip())), None)
    if written is not None:
        raise ValueError(f"{name}: {','.join(written)} may be two numbers or one; {_AS_DECIMALS}")
    notes.append(f"lines such as {','.join(rows[0])} are taken for two columns; {_AS_DECIMALS}")


def _some_rows(file: Path) -> list[list[str]]:
    """Some rows below the first."""
    return list(itertools.islice(filter(None, csv.reader(_content(file))), 1, 1 + _ROWS_COMPARED))


def _looks_like_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a first row is of years, or of running numbers as pandas writes them, and no row below is."""
    kind = _series(first)
    if not below or kind is None or any(_series(row) == kind for row in below):
        return False
    from_zero = first[0].strip() == "0" and len(first) > 1
    return kind == "years" or from_zero or len(first) > 2 or not any(_all_digits(row) for row in below)


def _all_digits(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\d+", cell.strip()) for cell in cells)


def _series(cells: Sequence[str]) -> str | None:
    """What cells are that are written as whole numbers: years in the order of time, or running numbers."""
    if not _all_digits(cells):
        return None
    numbers = [int(cell) for cell in cells]
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if all(number in _YEARS for number in numbers) and (min(steps, default=1) > 0 or max(steps, default=-1) < 0):
        return "years"
    return "running" if steps == {1} or numbers == [0] else None


def _shortened(cells: Sequence[str]) -> str:
    return ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")


def _parse(file: Path, name: str, header: list[str] | None) -> NDArray[np.float64]:
    """The numbers of a table, (N, columns); on failure a slower second reading finds the cell."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")
            lines = _content(file)
            if header is not None:
                next(filter(None, csv.reader(lines)))
            table = np.loadtxt(lines, delimiter=",", comments=None, quotechar='"', ndmin=2)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ValueError(f"{name}: {_first_fault(file, header) or error}") from error
    if len(table) == 0:
        raise ValueError(f"{name}: the data set is empty (a header and 0 rows); expected lines of numbers")
    if header is not None and table.shape[1] != len(header):
        raise ValueError(f"{name}: {_first_fault(file, header)}")
    return table


def _first_fault(file: Path, header: list[str] | None) -> str | None:
    """What is wrong with the first cell that is no number, or the first row of another length."""
    reader = csv.reader(_content(file))
    names, started = header, header is None
    for row in filter(None, reader):
        names = names or [str(k) for k in range(1, len(row) + 1)]
        if started and (habit := _habit(row)):
            return f"line {reader.line_num}: {habit}"
        if started and len(row) != len(names):
            commas = f"; {_AS_DECIMALS}" if all(map(_is_whole, row)) else ""
            return f"line {reader.line_num} has {len(row)} cells, expected {len(names)}: complete it{commas}"
        bad = next((k for k, cell in enumerate(row) if _number(cell) is None), None)
        if started and bad is not None:
            where = f"line {reader.line_num}, column {names[bad]!r}"
            return f"{where}: {row[bad]!r} is no number; expected numbers separated by commas: encode or drop it"
        started = True
    return None


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d+\s*", cell) is not None


def _habit(row: Sequence[str]) -> str | None:
    """What separates numbers in a row where it is not commas, or the decimal comma in it, and how to write it anew."""
    text = ",".join(row)
    separator = next((each for each in (";", "\t", "|") if each in text), None)
    if separator is None and len(row) == 1 and len(text.split()) > 1:
        separator = r"\s+"
    decimal = any(re.fullmatch(r"\s*[-+]?\d*,\d+\s*", cell) for cell in (text.split(separator) if separator else row))
    if separator is None and not decimal:
        return None
    found = "decimal commas" if separator is None else f"cells separated by {_NAMES.get(separator, repr(separator))}"
    found += " and decimal commas" if decimal and separator else ""
    options = (f"sep={separator!r}, " if separator else "") + ("decimal=',', " if decimal else "")
    return (
        f"there are {found}; expected numbers with decimal points, separated by commas: write the table anew by "
        f"pandas.read_csv(FILE, {options.removesuffix(', ')}).to_csv(FILE, index=False)"
    )


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
