"""Copies of trained stories, which further training of the original leaves untouched."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from pyrogen.story.from_functions import Pair
from pyrogen.story.param_store import ONE_THREAD
from pyrogen.story.story import Story


def snapshot(story: Story) -> Story:
    """A story with the weights of now.

    Args:
        story: the story, which may be trained further.

    Returns:
        A deep copy; of a pair of functions, whose networks cannot be copied, one that puts these weights in place
        while it runs.
    """
    if isinstance(story, _PairSnapshot):
        return story
    return _PairSnapshot(story) if isinstance(story, Pair) else _copy(story)


def _weights(story: Story) -> dict[str, Tensor]:
    return {**story.trainable(), **story.saved_buffers()}


class _PairSnapshot(Pair):
    """A pair that runs with the weights that it had when the snapshot was made."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair._programs["model"], pair._programs["guide"])
        store = pair._active_store()
        self._store, self.training_spec = store.select(store.params), pair.training_spec
        self._kept = {name: tensor.detach().clone() for name, tensor in _weights(pair).items()}

    @contextmanager
    def param_store_scope(self) -> Iterator[None]:
        """Work in the pair's parameter store, with the kept weights in place.

        Yields:
            None.
        """
        outermost = self._scope_depth == 0
        with ONE_THREAD, super().param_store_scope(), ExitStack() as stack:
            if outermost:
                stack.enter_context(self._in_place())
            yield

    @contextmanager
    def _temporary_scope(self) -> Iterator[None]:
        with super()._temporary_scope(), self._in_place():
            yield

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        live = {name: tensor for name, tensor in _weights(self).items() if name in self._kept}
        now = {name: tensor.detach().clone() for name, tensor in live.items()}
        _copy_into(live, self._kept)
        try:
            yield
        finally:
            _copy_into(live, now)


def _copy_into(live: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(values[name])


def _copy(story: Story) -> Story:
    """A deep copy. Pyro's AutoGuides forget their model when copied, and are given that of the copy."""
    guides = [module for module in story.modules() if isinstance(module, AutoGuide)]
    held = [(guide, guide._model, guide.master) for guide in guides]
    memo: dict[int, Any] = {id(guide.prototype_trace): guide.prototype_trace for guide in guides}
    try:
        copied = copy.deepcopy(story, memo)
    finally:
        for guide, model, master in held:
            guide._model, guide.master = model, master
    for guide, model, _ in held:
        memo[id(guide)]._model = copy.deepcopy(model, memo)
    copied._scope_depth, copied._open_scopes = 0, []  # the original may be running
    for role in ("model", "guide"):
        program = copied._modules.get(role)
        if isinstance(program, nn.Module):
            copied.enter_scope_in(program)
    return copied
