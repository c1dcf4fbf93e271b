"""Trees of tensors and plain values as one safetensors file, replaced as a whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by one write, fsync and rename: a reader, or a crash, sees the old or the new one, never a part.

    Args:
        path: of the file.
        content: its new content.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
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


def save_tree(path: Path, tree: Any, **about: Any) -> None:
    """Write a tree of dicts, lists, tuples, tensors, numbers, strings and None.

    Args:
        path: of the file.
        tree: the tree.
        about: further values that JSON can hold, kept in the file's header.

    Raises:
        TypeError: the tree holds something else, naming where.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _flattened(tree, "", tensors)
    # One entry: the order of several would differ from one writing to the next.
    metadata = {"pyrogen": json.dumps({**about, "tree": skeleton})}
    write_whole(path, safetensors.torch.save(tensors, metadata))


def load_tree(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read what `save_tree` wrote.

    Args:
        path: of the file.

    Returns:
        The tree, and the values in the header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, or not pyrogen's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: is this a run directory?")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged or truncated ({reason}): restore it, or train again") from None
    if "pyrogen" not in metadata:
        raise ValueError(f"{path} was not written by pyrogen: expected a file of a run directory")
    about = json.loads(metadata["pyrogen"])
    return _restored(about.pop("tree"), tensors), about


def _flattened(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
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


def _restored(node: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    [(kind, value)] = node.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "float":
        return float(value)
    if kind == "dict":
        return {key: _restored(child, tensors) for key, child in value}
    children = [_restored(child, tensors) for child in value]
    return children if kind == "list" else tuple(children)
