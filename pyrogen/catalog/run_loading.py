"""Trained stories from run directories, rebuilt from what `config.json` describes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrogen import adversarial, autoregressive, distributions, models, nn
from pyrogen.catalog.entry import Entry
from pyrogen.catalog.settings import settings_of
from pyrogen.inference import Fit, RunDirectory
from pyrogen.inference.persistence.config import damaged_fields, describe_story
from pyrogen.messages import did_you_mean
from pyrogen.story import Story, as_story

_PACKAGES = {"adversarial": adversarial, "autoregressive": autoregressive, "distributions": distributions}
_PACKAGES |= {"models": models, "nn": nn}


class ForeignStoryError(ValueError):
    """The run of a story that is not pyrogen's own, or has parts that are not."""


class _ForeignError(Exception):
    """A class that is not pyrogen's own, by its name."""


def load(directory: str | Path, into: Any = None, arguments: Mapping[str, Any] | None = None) -> Fit:
    """Read a run directory: the trained story, with its history.

    Args:
        directory: a directory that `fit(out=...)`, `Fit.save` or `pyrogen train` wrote.
        into: a story instance, built as the saved one was, or a pair of Pyro functions, for what is not pyrogen's own:
            loading never imports code that the directory names. None by default: the story is built from config.json.
        arguments: further arguments of the run, as `fit(arguments=...)` was given them, which a file cannot hold: all
            but numbers, strings and tensors. None by default.

    Returns:
        The run.

    Raises:
        ForeignStoryError: the story is not pyrogen's own, and `into` is not given.
        ValueError: `into` is another story than the saved one, or one of `arguments` is missing or another one.
    """
    files = RunDirectory(directory)
    description = files.config().get("story")
    saved, _ = _class_and_arguments(description, _field(files.path))
    try:
        story = rebuild(description, files.path) if into is None else as_story(into)
    except ForeignStoryError:
        _check_config(files.path)  # perhaps it is no foreign class, but a damaged name
        raise
    actual = describe_story(story)["class"]
    if actual.split(".")[-1] != saved.split(".")[-1]:
        _check_config(files.path)
        raise ValueError(f"{files.path} is a run of {saved}, and into= is {actual}")
    return Fit.read(files, story, arguments)


def rebuild(description: Any, path: Path) -> Story:
    """Build the story that config.json describes, from pyrogen's own classes alone.

    Args:
        description: its entry `story`: the class, and the arguments of its constructor.
        path: the run directory, for messages.

    Returns:
        The story, with weights as its constructor draws them.

    Raises:
        ForeignStoryError: it or one of its arguments is not pyrogen's.
        ValueError: the description is damaged.
    """
    name, _ = _class_and_arguments(description, _field(path))
    try:
        with damaged_fields(path / "config.json"):
            story = _decode(description, _field(path))
    except _ForeignError as error:
        raise ForeignStoryError(
            f"{path} is a run of {name}, which needs {error}, no part of pyrogen: pass the class as "
            "--story path/to/file.py:Class, or an instance as load(dir, into=story)"
        ) from None
    if not isinstance(story, Story):
        raise ValueError(f"{path} is a run of {name}, which is no story")
    return story


def rebuild_as(entry: Entry, description: Any, path: Path) -> Story:
    """Build the story that config.json describes as a class of the user's own, which `find` read from a file.

    Args:
        entry: the entry of that class.
        description: the entry `story` of config.json.
        path: the run directory, for messages.

    Returns:
        The story, with weights as its constructor draws them.

    Raises:
        ValueError: the description is damaged, of another class, or has an argument that config.json cannot describe.
    """
    name, encoded = _class_and_arguments(description, _field(path))
    if name.split(".")[-1] != entry.name:
        raise ValueError(f"{path} is a run of {name}, and the class given is {entry.name}")
    try:
        with damaged_fields(path / "config.json"):
            story: Story = _construct(entry.build, encoded, _field(path))
    except _ForeignError as error:
        raise ValueError(
            f"{path} is a run of {name}, built with a {error}, which config.json cannot describe: build the story in "
            "Python and pass it as load(dir, into=story)"
        ) from None
    return story


def _check_config(path: Path) -> None:
    """Refuse a config.json that has changed, before its class is said to be another."""
    files = RunDirectory(path)
    files.check_config(files.config())


def _field(path: Path) -> str:
    return f"{path / 'config.json'}: story"


def _class_and_arguments(description: Any, field: str) -> tuple[str, Mapping[str, Any]]:
    content = description if isinstance(description, dict) else {}
    name, arguments = content.get("class"), content.get("arguments")
    if isinstance(name, str) and isinstance(arguments, dict):
        return name, arguments
    raise ValueError(f"{field} is damaged: expected a class and its arguments; restore the file, or train again")


def _decode(value: Any, field: str) -> Any:
    """An argument of a constructor, from JSON."""
    if isinstance(value, list):
        return tuple(_decode(each, f"{field}[{i}]") for i, each in enumerate(value))
    if not isinstance(value, dict):
        return value
    if "opaque" in value:
        raise _ForeignError(value["opaque"])
    if value.get("float") in ("inf", "-inf", "nan"):
        return float(value["float"])
    if isinstance(value.get("dict"), dict):
        return {key: _decode(each, f"{field}.{key}") for key, each in value["dict"].items()}
    name, encoded = _class_and_arguments(value, field)
    package, _, attribute = name.removeprefix("pyrogen.").partition(".")
    if not name.startswith("pyrogen.") or attribute not in getattr(_PACKAGES.get(package), "__all__", ()):
        raise _ForeignError(name)
    cls = getattr(_PACKAGES[package], attribute)
    missing = [key for key in inspect.signature(cls).parameters if key not in encoded]
    if missing:
        raise ValueError(f"{field}.arguments lacks '{missing[0]}', which {attribute} takes: restore the file")
    return _construct(cls, encoded, field)


def _construct(build: Any, encoded: Mapping[str, Any], field: str) -> Any:
    """An instance of a class, its arguments checked against the annotations of the constructor."""
    signature, schema = inspect.signature(build), settings_of(build)
    for name in encoded:
        if name not in signature.parameters:
            hint = did_you_mean(name, schema)
            raise ValueError(f"{field}.arguments has '{name}', which {build.__name__} does not take{hint}")
    arguments = {name: _decode(value, f"{field}.arguments.{name}") for name, value in encoded.items()}
    for name, setting in schema.items():
        if name in arguments and (problem := setting.problem(arguments[name])):
            raise ValueError(f"{field}.arguments.{name} {problem}")
        if name not in arguments and setting.required:
            raise ValueError(f"{field}.arguments lacks '{name}', which {build.__name__} needs: restore the file")
    for name in signature.parameters:  # a default is not what the run was built with
        if name not in arguments:
            raise ValueError(
                f"{field}.arguments lacks '{name}', which {build.__name__} takes: restore the file, or build the "
                "story in Python and pass it as load(dir, into=story)"
            )
    bound = inspect.BoundArguments(
        signature, {name: arguments[name] for name in signature.parameters if name in arguments}
    )
    try:
        return build(*bound.args, **bound.kwargs)
    except Exception as error:
        raise ValueError(f"{field}: {build.__name__} cannot be built: {' '.join(str(error).split())}") from error
