"""Runs of a program without side effects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import pyro
import torch
from torch import Tensor

from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.rng import preserve_random_state
from pyrogen.story import Batch, Store, Story


@contextmanager
def isolated_run(story: Story, keep_parameters: bool = False) -> Iterator[None]:
    """Run without side effects: random state, buffers and parameter store are restored; validation is off.

    A guide that sets itself up in its first run, as AutoGuides do, does so again afterwards.

    Args:
        story: the story that runs.
        keep_parameters: whether parameters that the run makes, and a guide's set-up, are kept; False by default.

    Yields:
        None.
    """
    attributes = nullcontext() if keep_parameters else _preserve_attributes(story.all_modules())
    with attributes, preserve_buffers(story.all_modules()), story.param_store_scope():
        store = Store.current()
        parameters = nullcontext() if keep_parameters else store.select(store.params).activated()
        with parameters, preserve_random_state(), torch.no_grad(), pyro.validation_enabled(False):
            yield


@contextmanager
def _preserve_attributes(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """On leaving, every module has the attributes that it had, and dicts, lists and sets among them their items."""
    held = [(module, dict(module.__dict__)) for module in modules]
    containers = [
        (value, copy.copy(value))
        for _, attributes in held
        for value in attributes.values()
        if isinstance(value, dict | list | set)
    ]
    try:
        yield
    finally:
        for module, attributes in held:
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for value, items in containers:
            value.clear()
            value.extend(items) if isinstance(value, list) else value.update(items)


@contextmanager
def preserve_buffers(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """On leaving, every buffer of the modules is the same tensor with the same values as on entering.

    Args:
        modules: whose own buffers are preserved, not those of their submodules.

    Yields:
        None.
    """
    held = [(m, name, b, b.clone()) for m in modules for name, b in m.named_buffers(recurse=False)]
    try:
        yield
    finally:
        for module, name, buffer, value in held:
            module._buffers[name] = buffer
            if not torch.nn.parameter.is_lazy(buffer):
                buffer.data.copy_(value)


def live_weights(story: Story) -> dict[str, Tensor]:
    """Parameters and buffers of a story, live: what is trained, and what a run directory keeps.

    Args:
        story: the story.

    Returns:
        Detached tensors that share memory with the story's, by name.
    """
    return {name: t.detach() for name, t in {**story.trainable(), **story.saved_buffers()}.items()}


def divisor_for(program: Program, batch: Batch) -> float:
    """Size of the data plate, by which a loss on a batch is divided to be per datum; runs the model once, isolated.

    Args:
        program: the story's.
        batch: the rows.

    Returns:
        The number of data that the loss is scaled to.
    """
    with isolated_run(program.story):
        return Recording(batch).run_model(program).divisor


def shape_lazy_parameters(program: Program, first: Callable[[], Batch]) -> None:
    """Initialize lazy parameters by one run of guide and model, if there are any.

    Args:
        program: the story's.
        first: gives the batch to run on.
    """
    story = program.story
    tensors = [t for module in story.all_modules() for t in (*module.parameters(False), *module.buffers(False))]
    if any(torch.nn.parameter.is_lazy(tensor) for tensor in tensors):
        with story.param_store_scope(), story.initialize_lazy(), torch.no_grad(), pyro.validation_enabled(False):
            Recording(program.at_step(first(), 0)).run(program)
