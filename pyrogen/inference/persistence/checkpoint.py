"""Trees of tensors and plain values as one safetensors file, replaced as a whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from pyrogen.messages import writing

SEALED_FORMAT = 3
"""Formats of run directories from this one on have a checksum in every file."""
CHECKSUM = "crc32:00000000"
"""Stands first in a file that is written, and is replaced by the checksum of the file with this in its place."""
_SEAL, _HEAD = re.compile(rb"crc32:([0-9a-f]{8})"), 4096
_BLOCK = 2**22


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by one write, fsync and rename: a reader, or a crash, sees the old or the new one, never a part.

    Args:
        path: of the file.
        content: its new content; the first `CHECKSUM` in its beginning is replaced by the checksum.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    place = content.find(CHECKSUM.encode(), 0, _HEAD) + len("crc32:")
    view = memoryview(content)
    seal = f"{zlib.crc32(content):08x}".encode() if place >= len("crc32:") else b""
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(view[: place if seal else 0])
                file.write(seal)
                file.write(view[place + len(seal) if seal else 0 :])
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def check_seal(path: Path, version: Any) -> None:
    """Check a file against the checksum in it.

    Args:
        path: of a file that `write_whole` wrote.
        version: its format; those before `SEALED_FORMAT` may have no checksum.

    Raises:
        ValueError: the file has changed since it was written.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        seal = _SEAL.search(head)
        if seal is None:
            if isinstance(version, int) and version < SEALED_FORMAT:
                return
            raise ValueError(f"{path} is damaged: its checksum is missing; restore the file, or train again")
        crc = zlib.crc32(_SEAL.sub(CHECKSUM.encode(), head, count=1))
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    if crc != int(seal[1], 16):
        raise ValueError(
            f"{path} is damaged: its content does not match its checksum; restore the file, or train again"
        )


def save_tree(path: Path, tree: Any, **about: Any) -> None:
    """Write a tree of dicts, lists, tuples, tensors, numbers, strings and None.

    Args:
        path: of the file.
        tree: the tree.
        about: further values that JSON can hold, kept in the file's header.

    Raises:
        TypeError: the tree holds something else, naming where.
        OSError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _flattened(tree, "", tensors)
    # One entry: the order of several would differ from one writing to the next.
    metadata = {"pyrogen": json.dumps({"checksum": CHECKSUM, **about, "tree": skeleton})}
    write_whole(path, safetensors.torch.save(tensors, metadata))


def load_tree(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read what `save_tree` wrote.

    Args:
        path: of the file.

    Returns:
        The tree, and the values in the header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, truncated, or not pyrogen's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: is this a run directory?")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # of safetensors, of the system, or of torch for a type that it does not know
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is damaged or truncated ({reason}): restore it, or train again") from None
    if "pyrogen" not in metadata:
        raise ValueError(f"{path} was not written by pyrogen: expected a file of a run directory")
    try:
        about = json.loads(metadata["pyrogen"])
        about = about if isinstance(about, dict) else {}
        if "tree" not in about:
            raise ValueError("lacks the field 'tree'")
        tree = _restored(about.pop("tree"), tensors, "tree")
    except (ValueError, RecursionError) as error:
        problem = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path} is damaged: its header {problem}; restore the file, or train again") from None
    check_seal(path, about.get("format", 0))
    about.pop("checksum", None)
    return tree, about


def _flattened(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        while path in tensors:  # of "a/b" beside "b" in "a"
            path += "'"
        # One copy for each leaf: safetensors refuses memory that is shared or not contiguous.
        tensors[path] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(node, Mapping):
        start = f"{path}/" if path else ""
        return {"dict": [[key, _flattened(value, f"{start}{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        kind = "list" if isinstance(node, list) else "tuple"
        return {kind: [_flattened(value, f"{path}/{i}", tensors) for i, value in enumerate(node)]}
    if isinstance(node, float) and not math.isfinite(node):
        return {"float": repr(node)}
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"'{path}' is a {type(node).__name__}, which cannot be saved without pickle")


def _restored(node: Any, tensors: dict[str, Tensor], field: str) -> Any:
    """The inverse of `_flattened`; a ValueError names the field that is not as `_flattened` writes it."""
    if not isinstance(node, dict | list):
        return node
    kind, value = next(iter(node.items())) if isinstance(node, dict) and len(node) == 1 else ("", None)
    if kind == "tensor" and isinstance(value, str) and value in tensors:
        return tensors[value]
    if kind == "float" and value in ("inf", "-inf", "nan"):
        return float(value)
    if kind == "dict" and isinstance(value, list) and all(_is_item(each) for each in value):
        return {key: _restored(child, tensors, f"{field}.{key}") for key, child in value}
    if kind in ("list", "tuple") and isinstance(value, list):
        children = [_restored(child, tensors, f"{field}[{i}]") for i, child in enumerate(value)]
        return children if kind == "list" else tuple(children)
    raise ValueError(f"has a field '{field}' that is no tensor of the file and no number, text or list")


def _is_item(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and not isinstance(pair[0], dict | list)
