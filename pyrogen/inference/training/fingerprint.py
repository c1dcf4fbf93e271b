"""A fingerprint of a program, by which a loaded run is recognized as the one that was saved.

Weights and buffers are saved; a permutation in a flow, a mask in a closure or a constant in an attribute is not. The
fingerprint holds the densities of model and guide where parameters and latents have fixed values, so that it depends
on nothing but what is not saved.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import seeded
from pyrogen.story import Story, TrainingSpec, is_delta, is_subsample

_TOLERANCE = 1e-4
"""Largest difference of two log densities, relative to 1 + their size: float32 rounds a sum of many terms."""


def fingerprint(story: Story, spec: TrainingSpec) -> dict[str, Any] | None:
    """Log densities of guide and model at fixed parameters and latents, on placeholders for the data.

    Args:
        story: the story.
        spec: what it was trained on.

    Returns:
        `torch`, `device` and `sites`, numbers by role and site; None for a story of pyrogen's own, whose constructor
        makes all of it, and where the program does not run on placeholders.
    """
    if type(story).__module__.startswith("pyrogen.") and not hasattr(story, "_programs"):
        return None
    for n, value in ((min(spec.n, 2), 0), (spec.n, 0), (spec.n, 1)):
        batch = spec.placeholder(n, value).to(story.device)
        try:
            with story.predicting(), isolated_run(story), seeded(0), _fixed_parameters(story):
                return {"torch": torch.__version__, "device": story.device.type, "sites": _densities(story, batch)}
        except Exception:  # it may need all rows, or data that make sense
            continue
    return None


def check_fingerprint(story: Story, spec: TrainingSpec, saved: Mapping[str, Any] | None, path: Any) -> None:
    """Refuse a story that is not the one that was saved, although its weights fit.

    Args:
        story: the story, with the saved weights.
        spec: what it was trained on.
        saved: what `fingerprint` gave when the run was saved.
        path: of the run directory, for the message.

    Raises:
        ValueError: a density differs. It is a warning where the run was saved on another device or version of torch.
    """
    if saved is None or (current := fingerprint(story, spec)) is None:
        return
    for name, before in saved["sites"].items():
        now = current["sites"].get(name, math.nan)
        if abs(now - before) <= _TOLERANCE * (1 + abs(before)):
            continue
        message = (
            f"{path}: {name} of {story.name} is not what it was when the run was saved ({now:.6g} in place of "
            f"{before:.6g} at fixed weights): build the story with the same arguments, and keep what is drawn or set "
            "outside of parameters (a permutation, a mask, a constant) in a buffer"
        )
        if (saved["torch"], saved["device"]) == (current["torch"], current["device"]):
            raise ValueError(message)
        warnings.warn(f"{message}; it was saved by torch {saved['torch']} on {saved['device']}", stacklevel=2)
        return


def _densities(story: Story, batch: Any) -> dict[str, float]:
    program = Program(story)
    with _FixedLatents():
        guide = poutine.trace(program.guide).get_trace(batch)
        model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(batch)
    numbers = {}
    for role, trace in (("guide", guide), ("model", model)):
        for name, site in trace.nodes.items():
            if site["type"] != "sample" or is_subsample(site):
                continue
            fn: Any = site["fn"]
            number = _number(site["value"])
            if not is_delta(fn):
                number += _number(fn.log_prob(site["value"]))
            if math.isfinite(number):
                numbers[f"the {role}'s site '{name}'"] = number
    return numbers


def _number(values: Any) -> float:
    """A sum in which each place has a weight of its own."""
    values = torch.as_tensor(values)
    return float((values.double() * _waves(values.shape, values.device).double()).sum())


class _FixedLatents(Messenger):
    """Gives every latent that is drawn a fixed value in its support."""

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if msg["done"] or msg["is_observed"] or is_subsample(msg) or is_delta(fn):
            return
        if getattr(fn, "has_enumerate_support", False):
            value = fn.enumerate_support()[0]
        elif fn.support.is_discrete:
            value = torch.zeros(fn.shape())
        else:
            transform = biject_to(fn.support)
            value = transform(_waves(transform.inverse_shape(fn.shape())))
        try:
            fn.log_prob(value)
        except Exception:  # a flow without an inverse, which says so in its own way, is scored where it draws
            return
        msg["value"], msg["done"] = value, True


def _waves(shape: Any, device: Any = None) -> Tensor:
    """Fixed numbers in (-1, 1), no two alike."""
    shape = torch.Size(shape)
    return torch.arange(1, shape.numel() + 1, device=device).float().sin().reshape(shape)


@contextmanager
def _fixed_parameters(story: Story) -> Iterator[None]:
    """Fixed values in place of all parameters and of buffers that are no whole numbers."""
    parameters = list(story.trainable().values())
    buffers = [b for b in story.saved_buffers().values() if b.is_floating_point()]
    held = [(tensor, tensor.detach().clone()) for tensor in (*parameters, *buffers)]
    try:
        for parameter in parameters:
            width = parameter[0].numel() if parameter.dim() > 1 else 4
            parameter.data.copy_(_waves(parameter.shape, parameter.device) / max(width, 1) ** 0.5)
        for buffer in buffers:
            buffer.data.fill_(1.0)
        yield
    finally:
        for tensor, value in held:
            tensor.data.copy_(value)
