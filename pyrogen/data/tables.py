"""A user's own tables: .csv files of numbers."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pyrogen.data.arrays import file_splits
from pyrogen.data.splits import Splits

_LABELS = ("y", "label")


def read_csv(file: Path, name: str) -> Splits:
    """Read a table of numbers with an optional header, split 70/10/20.

    A header column `y` or `label` becomes `y` (N,): int64 where all its numbers are whole, else float32. The other
    columns form `x` (N, D) float32, in order.

    Args:
        file: the file, in UTF-8.
        name: what messages and reports call the data.

    Returns:
        The splits.

    Raises:
        ValueError: a cell is no number (with its line and column), rows differ in length, or there are none.
    """
    try:
        header = _header(file, name)
        table = _parse(file, name, header)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name}: no text in UTF-8 ({error}); expected lines of numbers: save it as UTF-8") from error
    label = [k for k, cell in enumerate(header or []) if cell.lower() in _LABELS]
    if len(label) > 1:
        raise ValueError(f"{name}: expected one column of labels, got {len(label)} (y, label): rename all but one")
    if table.shape[1] == len(label):
        raise ValueError(f"{name}: there is no column besides the labels; expected at least one, to form x: add it")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which `check_columns` refuses
        columns = {"x": torch.from_numpy(np.delete(table, label, axis=1).astype(np.float32))}
        if label:
            y = table[:, label[0]]
            whole = bool((np.abs(y) < 2**53).all() and (y == np.round(y)).all())
            columns["y"] = torch.from_numpy(y.astype(np.int64 if whole else np.float32))
    return file_splits(columns, name)


def _header(file: Path, name: str) -> list[str] | None:
    """The cells of the first line where one of them is no number, else None."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        first = next(filter(None, csv.reader(lines)), None)
    if first is None:
        raise ValueError(f"{name}: the data set is empty (0 rows); expected lines of numbers, separated by commas")
    if all(_number(cell) is not None for cell in first):
        return None
    header = [cell.strip() for cell in first]
    if "" in header:
        position = header.index("") + 1
        raise ValueError(
            f"{name}: line 1, column {position} is empty; expected a number, or a name in a header: fill it, or leave "
            "the column out (index=False)"
        )
    return header


def _parse(file: Path, name: str, header: list[str] | None) -> NDArray[np.float64]:
    """The numbers of a table, (N, columns); on failure a slower second reading finds the cell."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")
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
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        names, started = header, header is None
        for row in filter(None, reader):
            names = names or [str(k) for k in range(1, len(row) + 1)]
            if started and len(row) != len(names):
                return f"line {reader.line_num} has {len(row)} cells, expected {len(names)}: complete it"
            bad = next((k for k, cell in enumerate(row) if _number(cell) is None), None)
            if started and bad is not None:
                where = f"line {reader.line_num}, column {names[bad]!r}"
                return f"{where}: {row[bad]!r} is no number; expected numbers separated by commas: encode or drop it"
            started = True
    return None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
