"""Parameters of a story that are trained, and their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

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
        ValueError: there are none, or all are frozen.
    """
    parameters = {n: p for n, p in story.trainable().items() if p.requires_grad}
    frozen = frozen_parameters(freeze, parameters, recording, (name for name, _ in story.named_modules()))
    if not parameters:
        raise ValueError(f"{story.name} has no parameter to train: it needs nn.Parameter, pyro.param or pyro.module")
    trained = {name: p for name, p in parameters.items() if name not in frozen}
    if not trained:
        raise ValueError(f"freeze={list(freeze)} leaves no parameter to train")
    return trained


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
