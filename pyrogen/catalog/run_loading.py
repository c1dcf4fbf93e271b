"""Trained stories from run folders, rebuilt from what `config.json` tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrogen import adversarial, autoregressive, distributions, models, nn
from pyrogen.catalog.entry import Entry
from pyrogen.inference import Fit, RunDirectory
from pyrogen.inference.persistence.run_directory import describe_story
from pyrogen.story import Story, as_story

__all__ = ["load", "rebuild", "rebuild_as"]


def load(directory: str | Path, into: Any = None) -> Fit:
    """Read a run folder: the trained story, with its history.

    Args:
        directory: a folder that `fit(out=...)`, `Fit.save` or `pyrogen train` wrote.
        into: a story instance, built as the saved one was, or a pair of Pyro functions, for what is not pyrogen's own:
            loading never imports code that the folder names.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: the folder is damaged, of another story or of a newer version, or `into` is needed.
    """
    folder = RunDirectory(directory)
    config = folder.config()
    story = rebuild(config["story"], folder.path) if into is None else as_story(into)
    told = describe_story(story)["class"]
    if told != config["story"]["class"] and told.split(".")[-1] != config["story"]["class"].split(".")[-1]:
        raise ValueError(f"{folder.path} is a run of {config['story']['class']}, and into= is {told}")
    return Fit.read(folder, story)


def rebuild(told: Mapping[str, Any], path: Path) -> Story:
    """Build the story that a config tells of, from pyrogen's own classes alone.

    Raises:
        ValueError: it is not one of pyrogen's, or one of its arguments is not.
    """
    try:
        story = _decoded(told)
    except KeyError as error:
        raise ValueError(
            f"{path} is a run of {told['class']}, which needs {error.args[0]}, no part of pyrogen: pass the class as "
            "--story path/to/file.py:Class, or an instance as load(dir, into=story)"
        ) from None
    if not isinstance(story, Story):
        raise ValueError(f"{path} is a run of {told['class']}, which is no story")
    return story


def rebuild_as(entry: Entry, told: Mapping[str, Any], path: Path) -> Story:
    """Build the story that a config tells of as a class of the caller's own, which `find` read from a file.

    Raises:
        ValueError: the config tells of another class, or of an argument that it cannot tell how to build.
    """
    if told["class"].split(".")[-1] != entry.name:
        raise ValueError(f"{path} is a run of {told['class']}, and the class given is {entry.name}")
    try:
        arguments = {key: _decoded(value) for key, value in told["arguments"].items()}
    except KeyError as error:
        raise ValueError(
            f"{path} is a run of {told['class']}, built with a {error.args[0]}, which config.json cannot tell how to "
            "build: build the story in Python and pass it as load(dir, into=story)"
        ) from None
    return entry.build(**arguments)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "opaque" in value:
        raise KeyError(value["opaque"])
    if "dict" in value:
        return {key: _decoded(v) for key, v in value["dict"].items()}
    return _own(value["class"])(**{key: _decoded(v) for key, v in value["arguments"].items()})


def _own(path: str) -> Any:
    package, _, name = path.removeprefix("pyrogen.").partition(".")
    modules = {
        "adversarial": adversarial,
        "autoregressive": autoregressive,
        "distributions": distributions,
        "models": models,
        "nn": nn,
    }
    if not path.startswith("pyrogen.") or package not in modules or name not in modules[package].__all__:
        raise KeyError(path)
    return getattr(modules[package], name)
