"""Trained and frozen parts: what `freeze` names is not trained, and its buffers do not change."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from pyrogen.inference.program.program import Recording
from pyrogen.messages import did_you_mean
from pyrogen.story import Story


def frozen_parameters(
    freeze: Sequence[str], parameters: dict[str, Tensor], recording: Recording, modules: Iterable[str] = ()
) -> set[str]:
    """The names of the parameters that `freeze` freezes.

    Args:
        freeze: names of submodules or parameters, or "model" or "guide".
        parameters: by name.
        recording: of a run of guide and model.
        modules: names of submodules, with or without parameters; none by default.

    Returns:
        Names out of `parameters`.

    Raises:
        ValueError: an entry of `freeze` is no name of a submodule or parameter.
    """
    frozen: set[str] = set()
    modules = {name for name in modules if name}
    for entry in freeze:
        if entry in ("model", "guide"):
            used = getattr(recording, entry).parameters
            names = {name for name, p in parameters.items() if id(p) in used}
        else:
            names = {n for n in parameters if n == entry or n.startswith((f"{entry}.", f"{entry}$$$"))}
            names |= {n for n in parameters if n == f"{entry}_unconstrained"}
        if not names and entry not in modules:
            known = {"model", "guide", *parameters, *(n.split(".")[0].split("$$$")[0] for n in (*parameters, *modules))}
            raise ValueError(
                f"freeze: '{entry}' names no submodule or parameter{did_you_mean(entry, known)} (have: model, guide, "
                f"{', '.join(sorted(known - {'model', 'guide'}))})"
            )
        frozen |= names
    return frozen


def trained_parameters(story: Story, freeze: Sequence[str], recording: Recording) -> dict[str, Tensor]:
    """Every parameter that requires a gradient, except the frozen ones.

    Args:
        story: the story.
        freeze: names of submodules or parameters, or "model" or "guide".
        recording: of a run of guide and model, which has made the parameters.

    Returns:
        Unconstrained parameters by name.

    Raises:
        ValueError: there are none, all are frozen, or one was trained as a part of another story.
    """
    parameters = {n: p for n, p in story.trainable().items() if p.requires_grad}
    frozen = frozen_parameters(freeze, parameters, recording, (name for name, _ in story.named_modules()))
    if not parameters:
        raise ValueError(f"{story.name} has no parameter to train: it needs nn.Parameter, pyro.param or pyro.module")
    trained = {name: p for name, p in parameters.items() if name not in frozen}
    if not trained:
        raise ValueError(f"freeze={list(freeze)} leaves no parameter to train")
    for name, parameter in trained.items():
        owner = _OWNERS.get(parameter, lambda: None)()
        if owner is not None and owner is not story:
            raise ValueError(
                f"{story.name}: parameter '{name}' was trained by an earlier fit of {owner.name}, whose posterior "
                "would move: for a new start make the guide and its networks anew, or take copies (copy.deepcopy); to "
                "go on training pass that fit's story, fit(run.story, ...); to keep the values, name them in freeze="
            )
        _OWNERS[parameter] = weakref.ref(story)
    return trained


_OWNERS: Any = WeakIdKeyDictionary()
"""The story that trains a parameter, by a weak reference."""


def named_submodules(module: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Submodules by name, with all submodules inside them.

    Args:
        module: the module.
        names: names of submodules; others are ignored.

    Returns:
        The submodules.
    """
    submodules = dict(module.named_modules())
    return [part for name in names if name in submodules for part in submodules[name].modules()]


@contextmanager
def freeze_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep buffers as they are: modules with buffers run in evaluation mode.

    Modules without buffers, such as dropout, keep their mode.

    Args:
        modules: each by itself, without its submodules.

    Yields:
        None.
    """
    training = [module for module in modules if module.training and any(True for _ in module.buffers(recurse=False))]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
