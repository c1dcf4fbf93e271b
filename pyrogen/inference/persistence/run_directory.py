"""A run folder: what a run is (config.json), its weights, how to go on with it, and its history.

config.json            story and arguments, columns, versions, data and protocol, options, seed
weights.safetensors    what `load` reads
resume.safetensors     alone suffices to go on
history.jsonl          one record an epoch
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.persistence.checkpoint import load_tree, save_tree, write_whole
from pyrogen.story import Pair, Spec, Story, TrainingSpec

__all__ = ["FORMAT", "RunDirectory", "describe", "describe_story", "spec_from_json", "spec_to_json", "versions"]

FORMAT = 1
"""Version of the folder's layout; a folder of a newer one is refused."""

_FILES = ("config.json", "weights.safetensors", "resume.safetensors", "history.jsonl")


class RunDirectory:
    """The files of one run.

    Args:
        path: the folder; made when first written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @property
    def used(self) -> bool:
        """Whether a run was written here."""
        return any((self.path / name).exists() for name in _FILES)

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.path / "resume.safetensors").exists()

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write the config, and forget the history of a run that left no checkpoint."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, expected a folder to write the run to")
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_history([])
        self._write_json("config.json", config)

    def config(self) -> dict[str, Any]:
        """Read config.json.

        Raises:
            FileNotFoundError: no such folder, or no run in it.
            ValueError: the file is damaged, or of a newer version.
        """
        path = self.path / "config.json"
        if not path.is_file():
            what = "holds no config.json: it is no run folder" if self.path.is_dir() else "does not exist"
            raise FileNotFoundError(
                f"{self.path} {what}; `pyrogen train ... --out {self.path}` or fit(out=...) writes one"
            )
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            version = int(config["format"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path} is damaged: expected JSON with a 'format' number; restore it, or train again"
            ) from None
        _check_version(path, version, config.get("pyrogen"))
        return dict(config)

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records to the history."""
        with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(record) + "\n" for record in records))

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Replace the history."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_whole(self.path / "history.jsonl", text.encode())

    def history(self) -> list[dict[str, Any]]:
        """The records of the epochs; a line cut short by a kill is left out."""
        path, records = self.path / "history.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def write_weights(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], **about: Any) -> None:
        """Replace the weights."""
        about = {"format": FORMAT, "run": config["run"], "story": config["story"]["class"], **about}
        save_tree(self.path / "weights.safetensors", dict(tensors), **about)

    def weights(self, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the weights that belong to the config, and what is said about them.

        Raises:
            FileNotFoundError: there are none.
            ValueError: they are damaged, of another run, or of another story.
        """
        path = self.path / "weights.safetensors"
        tensors, about = load_tree(path)
        _check_version(path, about.get("format", 0), None)
        if about.get("story") != config["story"]["class"]:
            raise ValueError(
                f"{path} holds weights of {about.get('story')}, and config.json tells of {config['story']['class']}"
            )
        if about.get("run") != config["run"]:
            raise ValueError(f"{path} belongs to another run than config.json beside it: put the right file back")
        return tensors, about

    def write_checkpoint(self, state: Any, config: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        save_tree(self.path / "resume.safetensors", state, format=FORMAT, config=dict(config))

    def checkpoint(self) -> tuple[Any, dict[str, Any]]:
        """Read the checkpoint: state and config."""
        path = self.path / "resume.safetensors"
        state, about = load_tree(path)
        _check_version(path, about.get("format", 0), None)
        return state, about["config"]

    def restore_files(self, history: list[dict[str, Any]], config: Mapping[str, Any]) -> None:
        """Write config and history anew from a checkpoint, which alone suffices."""
        self._write_json("config.json", config)
        self.write_history(history)

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_whole(self.path / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _check_version(path: Path, version: int, by: str | None) -> None:
    if version > FORMAT:
        writer = f" (written by pyrogen {by})" if by else ""
        raise ValueError(f"{path} has format {version}{writer}, and this pyrogen reads up to {FORMAT}: upgrade pyrogen")


def versions() -> dict[str, str]:
    """Versions of what computes a run."""
    found = {"python": platform.python_version()}
    for name in ("pyrogen", "torch", "pyro-ppl", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[name] = "not installed"
    return found


def describe(value: Any) -> Any:
    """A JSON-able account of an option, the same for equal options in another process."""
    if isinstance(value, torch.device | torch.dtype) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(v) for key, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [describe(v) for v in value]
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, functools.partial):
        return {"call": describe(value.func), "args": describe(value.args), "with": describe(value.keywords)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    # What an object learns while it works is no option: a live weight, the nesting that an ELBO has found.
    public = {
        k: describe(v)
        for k, v in getattr(value, "__dict__", {}).items()
        if not k.startswith("_") and k != "max_plate_nesting" and not isinstance(v, Tensor)
    }
    return {"class": _path(type(value)), **({"with": public} if public else {})}


def describe_story(story: Story) -> dict[str, Any]:
    """What config.json says of a story: its class and the arguments of its constructor."""
    if isinstance(story, Pair):
        return {"class": story.name, "arguments": {}}
    return {"class": _path(type(story)), "arguments": {k: encode(v) for k, v in story.arguments.items()}}


def encode(value: Any) -> Any:
    """A constructor's argument in JSON; a component of pyrogen's by its fields, anything else by name alone."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {k: encode(v) for k, v in value.items()}}
    if (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and type(value).__module__.startswith("pyrogen.")
    ):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": _path(type(value)), "arguments": fields}
    return {"opaque": _path(value if isinstance(value, type) else type(value))}


def _path(cls: type) -> str:
    module = cls.__module__
    if module.startswith("pyrogen."):
        module = ".".join(module.split(".")[:2])
    return f"{module}.{cls.__qualname__}"


def spec_to_json(seen: TrainingSpec) -> dict[str, Any]:
    """What a story was trained on, in JSON."""
    columns = [[k, list(s.shape), str(s.dtype).removeprefix("torch.")] for k, s in seen.columns.items()]
    extra = {k: v for k, v in seen.extra.items() if v is None or isinstance(v, bool | int | float | str)}
    told = {"n": seen.n, "total": seen.total, "plate": seen.plate, "sites": list(seen.sites), "extra": extra}
    return {"columns": columns, **told}


def spec_from_json(seen: Mapping[str, Any]) -> TrainingSpec:
    """The inverse of `spec_to_json`."""
    columns = {key: Spec(tuple(shape), getattr(torch, dtype)) for key, shape, dtype in seen["columns"]}
    return TrainingSpec(columns, seen["n"], seen["total"], seen["plate"], tuple(seen["sites"]), seen["extra"])
