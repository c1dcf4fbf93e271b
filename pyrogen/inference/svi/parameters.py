"""Parameters of a story that are trained, and their gradients."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from pyrogen.inference.optim.freezing import frozen_parameters
from pyrogen.inference.program.program import Recording
from pyrogen.story import Story


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


def set_gradients(loss: Tensor, parameters: Mapping[str, Tensor], differentiable: bool, check: str | None) -> None:
    """Put the gradients of a loss into the parameters' `grad`.

    Args:
        loss: of the whole data plate.
        parameters: those that are trained, by name.
        differentiable: whether the loss is to be differentiated; if not, the objective has set the gradients already.
        check: the story's name, where every parameter must receive a gradient; else None.

    Raises:
        ValueError: a parameter receives none.
    """
    tensors = list(parameters.values())
    gradients: Any = [p.grad for p in tensors]
    if differentiable:
        gradients = [None] * len(tensors)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
    unused = [name for name, g in zip(parameters, gradients, strict=True) if g is None]
    if check is not None and unused:
        raise ValueError(
            f"{check}: parameter '{unused[0]}' receives no gradient from the objective ({len(unused)} of "
            f"{len(tensors)} do not): use it in model or guide, remove it, or name it in freeze="
        )
    for parameter, gradient in zip(tensors, gradients, strict=True):
        parameter.grad = gradient
