"""A user's own text: a line is a datum, a character a symbol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pyrogen.data.arrays import file_splits
from pyrogen.data.columns import Columns
from pyrogen.data.splits import Splits

MAX_LENGTH = 1000
"""Characters of the longest line that is accepted."""


def read_text(file: Path, name: str) -> Splits:
    r"""Read the lines of a text that are not blank, split 70/10/20.

    `x` (N, max length) int64 holds each character's position in the sorted `alphabet` of the text, padded with 0;
    `length` (N,) int64.

    Args:
        file: the file, in UTF-8.
        name: what messages and reports call the data.

    Returns:
        The splits, with the alphabet.

    Raises:
        ValueError: the file is no text in UTF-8, has no line, or a line is too long.

    Example:
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
    longest = max(lines, key=len)
    if len(longest) > MAX_LENGTH:
        raise ValueError(
            f"{name}: a line has {len(longest)} characters, expected at most {MAX_LENGTH}: break the lines; it begins "
            f"'{longest[:30]}'"
        )
    alphabet = "".join(sorted(set("".join(lines))))
    x = torch.zeros(len(lines), len(longest), dtype=torch.int64)
    for row, line in zip(x, lines, strict=True):
        row[: len(line)] = as_symbols(line, alphabet)
    return file_splits({"x": x, "length": torch.tensor([len(line) for line in lines])}, name, alphabet=alphabet)


def encoded_as(splits: Splits, alphabet: str, length: int) -> Splits:
    """A text in the symbols of another alphabet, as a model has them that was trained on another text.

    Args:
        splits: a text, as `read_text` gives it.
        alphabet: the characters that the model knows.
        length: symbols of its longest line.

    Returns:
        The splits, with `x` (N, length) in these symbols.

    Raises:
        ValueError: the text has a character that is not in the alphabet, or a longer line.
    """
    own = splits.alphabet or ""
    unknown = sorted(set(own) - set(alphabet))
    if unknown:
        raise ValueError(
            f"{splits.name}: the text has {unknown[0]!r}, which is not in the alphabet {alphabet!r} of the run: "
            "leave such lines out"
        )
    symbols = torch.tensor([alphabet.index(character) for character in own], dtype=torch.int64)
    parts: dict[str, Any] = {}
    for key in ("train", "validation", "test"):
        part = splits.split(key)
        longest = int(part["length"].max())
        if longest > length:
            raise ValueError(
                f"{splits.name}: a line has {longest} characters, and those of the run have at most {length}: break it"
            )
        x = torch.zeros(part.rows, length, dtype=torch.int64)
        kept = min(length, part["x"].shape[1])
        inside = torch.arange(kept) < part["length"][:, None]
        x[:, :kept] = symbols[part["x"][:, :kept]].masked_fill(~inside, 0)
        parts[key] = Columns({**part, "x": x})
    return replace(splits, **parts, alphabet=alphabet)


def as_symbols(text: str, alphabet: str) -> torch.Tensor:
    """Encode a text as symbols.

    Args:
        text: the text.
        alphabet: the characters that there are, each once.

    Returns:
        The position of each character in the alphabet, (characters,) int64.

    Raises:
        ValueError: a character is not in the alphabet.

    Example:
        >>> as_symbols("ba", "ab").tolist()
        [1, 0]
    """
    unknown = sorted(set(text) - set(alphabet))
    if unknown:
        raise ValueError(f"the text has {unknown[0]!r}, which is not in the alphabet {alphabet!r}")
    position = {character: i for i, character in enumerate(alphabet)}
    return torch.tensor([position[character] for character in text], dtype=torch.int64)


def as_text(x: torch.Tensor, length: torch.Tensor | None, alphabet: str) -> list[str]:
    """Decode symbols to lines of text.

    Args:
        x: symbols (N, max length), int64.
        length: symbols of each line, (N,); None: all of them.
        alphabet: the character of each symbol.

    Returns:
        The N lines.

    Example:
        >>> as_text(torch.tensor([[1, 0, 0]]), torch.tensor([2]), "ab")
        ['ba']
    """
    ends = [x.shape[1]] * len(x) if length is None else length.tolist()
    return ["".join(alphabet[i] for i in row[:end].tolist()) for row, end in zip(x, ends, strict=True)]
