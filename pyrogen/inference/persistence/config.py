"""The configuration of a run, `config.json`, and what a resumed run must agree on."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import math
import platform
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.inference.program.options import Options
from pyrogen.story import Pair, Spec, Story, TrainingSpec

FORMAT = 3
"""Version of a run directory's layout and names. Format 1 is read with its names mapped, format 2 has no checksums and
its checkpoints hold the history; a newer one is refused."""

_TEXT = (str, type(None))
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "run": str,
    "data": dict,
    "data.training": dict,
    "data.validation": (dict, type(None)),
    "data.protocol": (dict, type(None)),
    "options": dict,
    "limit": dict,
    "versions": dict,
}
_PROTOCOL: dict[str, type | tuple[type, ...]] = {
    "source": _TEXT,
    "data": _TEXT,
    "root": _TEXT,
    "binarize": _TEXT,
    "alphabet": _TEXT,
    "seed": int,
    "rows": dict,
    "label_frequencies": dict,
}
"""Types of the fields of config.json; those of a protocol may be absent."""

_NOT_COMPARED = ("epochs", "steps", "out", "resume", "progress", "callbacks")
"""Options that do not change what is computed, or that may change on resume."""


def configuration(
    story: Story, training: Mapping[str, Any], validation: Mapping[str, Any] | None, protocol: Any, options: Options
) -> dict[str, Any]:
    """The content of `config.json`.

    Args:
        story: the story, by its class and the arguments of its constructor.
        training: the columns' shapes, types and checksums.
        validation: those of the validation data, if there are any.
        protocol: of the data set: name, split, binarization, seeds; None where it has none.
        options: of `fit`.

    Returns:
        The configuration, ready for JSON.
    """
    current = versions()
    return {
        "pyrogen": current.pop("pyrogen"),
        "format": FORMAT,
        "run": uuid.uuid4().hex,
        "story": describe_story(story),
        "data": {"training": dict(training), "validation": validation, "protocol": protocol},
        "options": {
            name: describe(getattr(options, name)) for name in options.__dataclass_fields__ if name not in _NOT_COMPARED
        },
        "limit": {"epochs": options.epochs, "steps": options.steps},
        "versions": current,
    }


def check_same_run(saved: Any, current: Any, path: str) -> None:
    """Check that a resumed run has the configuration that it was started with.

    Args:
        saved: a part of the saved configuration.
        current: the same part of the present one.
        path: the part's name, for the message.

    Raises:
        ValueError: they differ; names the first difference.
    """
    if isinstance(saved, dict) and isinstance(current, dict):
        for key in [*saved, *(k for k in current if k not in saved)]:
            check_same_run(saved.get(key), current.get(key), f"{path}.{key}")
    elif saved != current:
        raise ValueError(
            f"resume: {path} was {json.dumps(saved)} and is now {json.dumps(current)}: only epochs or steps may "
            "change; use the old value, or another folder"
        )


@contextmanager
def damaged_fields(path: Path) -> Iterator[None]:
    """Let a field that is missing, or is of a wrong kind, be told as damage of a file.

    Args:
        path: of the file whose fields are read.

    Yields:
        None.

    Raises:
        ValueError: a field is not as pyrogen writes it.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        problem = f"it lacks the field {error}" if isinstance(error, KeyError) else f"a field of it: {error}"
        raise ValueError(f"{path} is damaged: {problem}; restore the file, or train again") from error


def check_fields(config: Mapping[str, Any], path: Path) -> None:
    """Check that a configuration has its fields; those of the story are checked where it is rebuilt.

    Args:
        config: the content of `config.json`.
        path: of the file that it was read from, for messages.

    Raises:
        ValueError: a field is missing or of a wrong type; names it.
    """
    for name, kinds in _FIELDS.items():
        *parents, last = name.split(".")
        content = functools.reduce(lambda place, parent: place[parent], parents, config)
        if last not in content:
            raise ValueError(f"{path} is damaged: it lacks the field '{name}'; restore the file, or train again")
        _check_type(content[last], name, kinds, path)
    protocol = config["data"]["protocol"] or {}
    for name in protocol.keys() & _PROTOCOL.keys():
        _check_type(protocol[name], f"data.protocol.{name}", _PROTOCOL[name], path)
    if "source" in protocol and "rows" not in protocol:
        raise ValueError(
            f"{path} is damaged: it lacks the field 'data.protocol.rows'; restore the file, or train again"
        )


def _check_type(value: Any, name: str, kinds: type | tuple[type, ...], path: Path) -> None:
    if not isinstance(value, kinds):
        words = {str: "a text", dict: "an object", int: "a whole number", type(None): "null"}
        expected = " or ".join(words[kind] for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise ValueError(
            f"{path} is damaged: expected {expected} in its field '{name}', got a {type(value).__name__}; restore the "
            "file, or train again"
        )


def versions() -> dict[str, str]:
    """Versions of Python, pyrogen, torch, Pyro and numpy.

    Returns:
        By name.
    """
    found = {"python": platform.python_version()}
    for name in ("pyrogen", "torch", "pyro-ppl", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[name] = "not installed"
    return found


def describe_story(story: Story) -> dict[str, Any]:
    """A story by its class and the arguments of its constructor.

    Args:
        story: the story; a pair of functions has no arguments.

    Returns:
        `class` and `arguments`, ready for JSON; components of pyrogen's by their fields, other objects by name alone.
    """
    if isinstance(story, Pair):
        return {"class": story.name, "arguments": {}}
    return {"class": _class_path(type(story)), "arguments": {k: _encode(v) for k, v in story.arguments.items()}}


def spec_to_json(spec: TrainingSpec) -> dict[str, Any]:
    """What a story was trained on, in JSON.

    Args:
        spec: columns, rows, data plate, observed sites, and those further arguments that are plain values.

    Returns:
        The same, for `spec_from_json`.
    """
    return {
        "columns": [[k, list(s.shape), str(s.dtype).removeprefix("torch.")] for k, s in spec.columns.items()],
        "n": spec.n,
        "total": spec.total,
        "plate": spec.plate,
        "sites": list(spec.sites),
        "extra": {name: value for name, value in spec.extra.items() if _is_plain(value)},
        "given": {name: describe(value) for name, value in spec.extra.items() if not _is_plain(value)},
        "checksums": dict(spec.checksums),
    }


def spec_from_json(content: Mapping[str, Any]) -> TrainingSpec:
    """The inverse of `spec_to_json`.

    Args:
        content: what it returned.

    Returns:
        The specification.
    """
    columns = {key: Spec(tuple(shape), getattr(torch, dtype)) for key, shape, dtype in content["columns"]}
    sites = tuple(content["sites"])
    rows = content["n"], content["total"], content["plate"]
    return TrainingSpec(columns, *rows, sites, content["extra"], content.get("checksums", {}))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def describe(value: Any) -> Any:
    """An option in JSON, the same for equal options in another process.

    Args:
        value: of the option.

    Returns:
        Plain values as they are, tensors by shape, type and checksum, functions by name, objects by public fields.
    """
    if isinstance(value, torch.device | torch.dtype) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    if _is_plain(value):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(v) for key, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [describe(v) for v in value]
    if isinstance(value, Tensor):
        content = np.ascontiguousarray(value.detach().cpu().numpy()).view(np.uint8).data
        return {"shape": list(value.shape), "dtype": str(value.dtype), "crc32": zlib.crc32(content)}
    if isinstance(value, functools.partial):
        return {"call": describe(value.func), "args": describe(value.args), "with": describe(value.keywords)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    # What an object learns in training is no option: a live weight, the plate nesting that an ELBO has found.
    public = {
        k: describe(v)
        for k, v in getattr(value, "__dict__", {}).items()
        if not k.startswith("_") and k != "max_plate_nesting" and not isinstance(v, Tensor)
    }
    return {"class": _class_path(type(value)), **({"with": public} if public else {})}


def _encode(value: Any) -> Any:
    """A constructor's argument in JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if _is_plain(value):
        return value
    if isinstance(value, list | tuple):
        return [_encode(v) for v in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {k: _encode(v) for k, v in value.items()}}
    component = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if component and type(value).__module__.startswith("pyrogen."):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": _class_path(type(value)), "arguments": fields}
    return {"opaque": _class_path(value if isinstance(value, type) else type(value))}


def _class_path(cls: type) -> str:
    module = cls.__module__
    if module.startswith("pyrogen."):
        module = ".".join(module.split(".")[:2])
    return f"{module}.{cls.__qualname__}"
