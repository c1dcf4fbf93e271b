"""The catalog: every story by name with its defaults. The table behind `train`, `list`, `load` and the exam."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrogen import distributions, models, nn
from pyrogen.inference import Fit, RunFolder
from pyrogen.inference.doors import nearest
from pyrogen.inference.run_folder import describe_story
from pyrogen.story import Story, as_story

__all__ = ["CATALOG", "Entry", "find", "load", "rebuild", "rebuild_as"]

GIVEN = ("event_shape", "classes", "total")
"""What a story's constructor receives from the data where it asks for it."""


@dataclass(frozen=True)
class Entry:
    """One line of the catalog.

    Args:
        name: what `train` and `list` call the story.
        summary: one line for `list`.
        build: from settings to a story; its parameters are the settings, those of `GIVEN` come from the data.
        training: options of `fit` that suit it: epochs, batch_size, lr, ...
        tiny: a small instance and data for the exam.
    """

    name: str
    summary: str
    build: Callable[..., Story]
    training: Mapping[str, Any] = field(default_factory=dict)
    tiny: Callable[[], tuple[Story, dict[str, Tensor]]] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with their defaults, for those that have one."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in GIVEN}

    def make(self, settings: Mapping[str, Any], **given: Any) -> Story:
        """Build the story from settings and what the data tells.

        Raises:
            ValueError: an unknown setting, or one that must be set.
        """
        parameters = inspect.signature(self.build).parameters
        for name in settings:
            if name not in parameters:
                hint = nearest(name, self.settings)
                raise ValueError(
                    f"{self.name} has no setting '{name}'{hint} (it has: {', '.join(self.settings) or 'none'})"
                )
        told = {name: value for name, value in given.items() if name in parameters and value is not None}
        arguments = {**told, **settings}
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
            if needed and name not in arguments:
                remedy = "the data does not tell it" if name in GIVEN else f"pass --set {name}=..."
                raise ValueError(f"{self.name} needs '{name}': {remedy}")
        return self.build(**arguments)


def _ppca(event_shape: tuple[int, ...], latent: int = 10, guide: str = "full") -> Story:
    return models.PPCA(event_shape, latent, guide=guide)  # type: ignore[arg-type]


_LIKELIHOODS = {"bernoulli": distributions.Bernoulli, "gaussian": distributions.Gaussian}


def _vae(
    event_shape: tuple[int, ...],
    latent: int = 16,
    likelihood: str = "bernoulli",
    network: str = "dense",
    hidden: tuple[int, ...] = (400,),
    channels: tuple[int, ...] = (32, 64),
) -> Story:
    family = _chosen("likelihood", likelihood, _LIKELIHOODS)()
    posterior = distributions.DiagonalNormal()
    hidden, channels = _sizes("hidden", hidden), _sizes("channels", channels)
    if _chosen("network", network, {"dense": False, "conv": True}):
        encoder = nn.ConvEncoder(event_shape, posterior.size((latent,)), channels)
        decoder = nn.ConvDecoder((latent,), family.size(event_shape), channels[::-1])
        return models.VAE(event_shape, latent, likelihood=family, posterior=posterior, encoder=encoder, decoder=decoder)
    return models.VAE(event_shape, latent, likelihood=family, posterior=posterior, hidden=hidden)


def _chosen(setting: str, value: Any, table: Mapping[str, Any]) -> Any:
    if value not in table:
        raise ValueError(f"{setting} is one of {', '.join(table)}, got {value!r}")
    return table[value]


def _sizes(setting: str, value: Any) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"{setting} is a list of widths of at least 1, such as [400, 400], got {value!r}")
    return sizes


def _points() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(96, 2, generator=generator) @ torch.randn(2, 6, generator=generator)


def _images() -> Tensor:
    """Binary 4 by 4 images of horizontal or vertical bars."""
    generator = torch.Generator().manual_seed(2)
    bars = torch.rand(96, 1, 4, 1, generator=generator).expand(96, 1, 4, 4) < 0.4
    upright = torch.rand(96, 1, 1, 1, generator=generator) < 0.5
    return torch.where(upright, bars.transpose(2, 3), bars).float()


CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "ppca",
            "probabilistic PCA: linear, with exact likelihood and posterior",
            _ppca,
            {"epochs": 60, "lr": 5e-3},
            lambda: (models.PPCA(6, 2), {"x": _points()}),
        ),
        Entry(
            "vae",
            "variational autoencoder, dense or convolutional, Bernoulli or Gaussian likelihood",
            _vae,
            {"epochs": 60, "lr": 1e-3},
            lambda: (models.VAE((1, 4, 4), latent=2, hidden=(16,)), {"x": _images()}),
        ),
    )
}
"""Every built-in story by name."""


def find(name: str) -> Entry:
    """The entry of that name; `path/to/file.py:Class` makes one of a user's own story.

    Raises:
        ValueError: no such name, file, or class.
    """
    if ".py:" in name or name.endswith(".py"):
        return _from_file(name)
    if name not in CATALOG:
        hint = nearest(name, CATALOG)
        raise ValueError(
            f"no story is called '{name}'{hint} (have: {', '.join(CATALOG)}; your own: path/to/file.py:Class)"
        )
    return CATALOG[name]


def _from_file(name: str) -> Entry:
    file, _, attribute = name.rpartition(":") if ".py:" in name else (name, "", "")
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"story file '{file}' does not exist")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look there for the module they are in
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    own = [n for n, c in vars(module).items() if _is_story(c) and c.__module__ == module.__name__]
    if not attribute or not _is_story(getattr(module, attribute, None)):
        what = f"has no Story called '{attribute}'" if attribute else "needs the story's class after a colon"
        raise ValueError(f"'{file}' {what}: write {file}:Class (stories in it: {', '.join(own) or 'none'})")
    cls = getattr(module, attribute)
    summary = (inspect.getdoc(cls) or "").split("\n")[0]
    return Entry(attribute, summary, cls)


def _is_story(candidate: Any) -> bool:
    return inspect.isclass(candidate) and issubclass(candidate, Story) and candidate is not Story


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
    folder = RunFolder(directory)
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
    modules = {"models": models, "nn": nn, "distributions": distributions}
    if not path.startswith("pyrogen.") or package not in modules or name not in modules[package].__all__:
        raise KeyError(path)
    return getattr(modules[package], name)
