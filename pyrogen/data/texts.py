"""A user's own text: a line is a datum, a character a symbol."""

from __future__ import annotations

from pathlib import Path

import torch

from pyrogen.data.arrays import file_splits
from pyrogen.data.splits import Splits

__all__ = ["as_symbols", "as_text", "read_text"]

LONGEST = 1000
"""Characters of the longest line that is taken."""


def read_text(file: Path, name: str) -> Splits:
    r"""The lines of a text that are not blank, split 70/10/20: x (N, places) int64, length (N,) int64.

    A symbol is its character's place in the `alphabet` of the text, sorted; what stands behind a line's end is 0.

    Raises:
        ValueError: no text in UTF-8, no line, or a line that is too long.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "words.txt")
    ...     _ = file.write_text("abba\nbob\nada\nbad\n", encoding="utf-8")
    ...     splits = read_text(file, "words.txt")
    >>> splits.alphabet, splits.event_shape
    ('abdo', (4,))
    """
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: no text in UTF-8 ({error}); expected lines of text: save it as UTF-8") from error
    if not lines:
        raise ValueError(f"{name}: the text is empty (0 lines); expected a datum on each line")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    places = len(lines[longest])
    if places > LONGEST:
        raise ValueError(
            f"{name}: a line has {places} characters, and {LONGEST} at most are taken: break the lines; it begins "
            f"'{lines[longest][:30]}'"
        )
    alphabet = "".join(sorted(set("".join(lines))))
    x = torch.zeros(len(lines), places, dtype=torch.int64)
    for row, line in zip(x, lines, strict=True):
        row[: len(line)] = as_symbols(line, alphabet)
    columns = {"x": x, "length": torch.tensor([len(line) for line in lines])}
    return file_splits(columns, name, alphabet=alphabet)


def as_symbols(text: str, alphabet: str) -> torch.Tensor:
    """The symbols (characters,) of a text: the place of each of its characters in the alphabet.

    Raises:
        ValueError: a character that the alphabet lacks.

    >>> as_symbols("ba", "ab").tolist()
    [1, 0]
    """
    number = {character: i for i, character in enumerate(alphabet)}
    unknown = sorted(set(text) - set(alphabet))
    if unknown:
        raise ValueError(f"the text has {unknown[0]!r}, which the alphabet lacks: it is {alphabet!r}")
    return torch.tensor([number[character] for character in text], dtype=torch.int64)


def as_text(x: torch.Tensor, length: torch.Tensor | None, alphabet: str) -> list[str]:
    """Lines again, of symbols `x` (N, places) and, where they end sooner, their `length` (N,).

    >>> as_text(torch.tensor([[1, 0, 0]]), torch.tensor([2]), "ab")
    ['ba']
    """
    ends = [x.shape[1]] * len(x) if length is None else length.tolist()
    return ["".join(alphabet[i] for i in row[:end].tolist()) for row, end in zip(x, ends, strict=True)]
