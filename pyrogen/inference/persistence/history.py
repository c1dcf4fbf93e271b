"""The history of a run: `history.jsonl`, one record an epoch, to which is only ever added.

What a checkpoint holds of it does not grow with the run: its length and its checksum. A resumed run cuts the file to
that length, so that it makes no difference when a process was killed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrogen.inference.persistence.checkpoint import write_whole
from pyrogen.messages import writing

_START = b'{"epoch":'
"""How each line begins."""
_SHORT = 4096
"""Bytes of a history that a checkpoint holds itself, so that the checkpoint of a short run can restore the file."""


class History:
    """The file of a run's history.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = self._crc32 = 0
        self._cut_short: Mapping[str, Any] | None = None

    def append(self, *records: Mapping[str, Any], cut_short: bool = False) -> None:
        """Add records at the end.

        Args:
            records: one for each epoch.
            cut_short: whether the last one is of an epoch that a resumed run may continue, so that the record is
                replaced; False by default.
        """
        self._cut_short = records[-1] if cut_short else None
        lines = _lines(records)
        with writing(self.path), self.path.open("ab") as file:
            file.write(lines)
        self._count(_lines(records[:-1]) if cut_short else lines)

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Replace the whole history.

        Args:
            records: one for each epoch.
        """
        self._bytes, self._crc32, self._cut_short = 0, 0, None
        write_whole(self.path, _lines(records))
        self._count(_lines(records))

    def mark(self, with_text: bool = False) -> dict[str, Any]:
        """What a file that belongs to this history holds of it; the history is on the disk afterwards.

        Args:
            with_text: whether a short history itself is part of it; False by default.

        Returns:
            Length and checksum up to the last complete epoch, and the record of one that was cut short.
        """
        with writing(self.path), self.path.open("ab") as file:
            os.fsync(file.fileno())
        mark: dict[str, Any] = {"bytes": self._bytes, "crc32": self._crc32, "cut_short": self._cut_short}
        if with_text and self._bytes <= _SHORT:
            mark["text"] = self.path.read_bytes()[: self._bytes].decode()
        return mark

    def read(self, mark: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Read the history.

        Args:
            mark: of the file that it belongs to; None: of an older version, which kept none.

        Returns:
            One record for each epoch, up to the mark; without one a line cut short by a kill is left out.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the file is damaged; names the line where it can be told.
        """
        if not self.path.is_file() and (self.path.exists() or self.path.is_symlink()):
            raise ValueError(f"{self.path} is damaged: it is no regular file; restore the file, or train again")
        content = self.path.read_bytes() if self.path.is_file() else None
        if mark is None:
            return self._records(content or b"", complete=False)
        length, crc32, cut_short = mark["bytes"], mark["crc32"], mark["cut_short"]
        if content is None and "text" in mark:
            content = mark["text"].encode()
        if content is None:
            raise FileNotFoundError(f"{self.path} is missing: restore the file, or train again")
        records = self._records(content[:length], complete=True)
        self._records(content[length:], complete=False)  # of later epochs
        if len(content) < length or zlib.crc32(content[:length]) != crc32:
            problem = "is truncated" if len(content) < length else "does not match its checksum"
            raise ValueError(f"{self.path} is damaged: it {problem}; restore the file, or train again")
        return [*records, *([cut_short] if cut_short else [])]

    def restore(self, mark: Mapping[str, Any] | None, records: Sequence[Mapping[str, Any]]) -> None:
        """Cut the file to a mark; a missing file, or one of an older version, is written anew.

        Args:
            mark: of a checkpoint; None: of an older version.
            records: up to the mark.
        """
        if mark is None or not self.path.is_file():
            self.write(records)
            return
        with writing(self.path):
            os.truncate(self.path, mark["bytes"])
        self._bytes, self._crc32, self._cut_short = mark["bytes"], mark["crc32"], None

    def _count(self, lines: bytes) -> None:
        self._bytes += len(lines)
        self._crc32 = zlib.crc32(lines, self._crc32)

    def _records(self, content: bytes, complete: bool) -> list[dict[str, Any]]:
        # A file system may leave zeros where a write was cut short.
        records, lines = [], (content if complete else content.rstrip(b"\0")).split(b"\n")
        for number, line in enumerate(lines, start=1):
            last = number == len(lines)
            if last and not line:
                break
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
                if last and not complete and line.startswith(_START[: len(line)]):
                    break
                raise ValueError(
                    f"{self.path} is damaged: line {number} is no record with an 'epoch'; restore the file, or train "
                    "again"
                )
            records.append(record)
        return records


def _lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
