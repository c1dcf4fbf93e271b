"""A trained story ready to answer questions: evaluation mode, its own parameter store, a seed, data as one batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from pyrogen.inference.batching.from_data import Batches, as_columns, make_batches
from pyrogen.inference.batching.row_batches import RowBatches
from pyrogen.inference.program.nonfinite import check_finite
from pyrogen.inference.program.precision import story_dtype
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import seeded
from pyrogen.story import ONE_THREAD, Batch, Store, Story, as_story


@dataclass(frozen=True)
class EvaluationContext:
    """What `evaluation_context` gives.

    Args:
        story: the story, in evaluation mode and in its own parameter store.
    """

    story: Story

    @functools.cached_property
    def program(self) -> Program:
        """Model and guide as functions of a batch."""
        return Program(self.story)

    def batches(self, data: Any) -> Batches:
        """The data as batches, on the story's device and in its floating-point type; `total` is the training set's.

        Args:
            data: whatever `fit` takes.

        Returns:
            All rows in one batch, until `with_size` says otherwise.
        """
        spec, dtype = self.story.training_spec, story_dtype(self.story, torch.get_default_dtype())
        total = spec.total if spec is not None else None
        device, any_name = self.story.device, self.program.foreign
        batches = make_batches(data, self.program.wants, device=device, dtype=dtype, total=total, any_name=any_name)
        if isinstance(batches, RowBatches) and batches.stored is not None:
            check_finite(self.program, batches.stored, batches.batch, "data")
        return batches

    def batch(self, data: Any) -> Batch:
        """All of the data as one batch, on the story's device and in its floating-point type.

        Args:
            data: a `Batch`, or whatever `fit` takes but a `DataLoader`.

        Returns:
            The batch; `total` is that of the training set, where the story has seen one.

        Raises:
            TypeError: `data` is of no kind that `fit` knows.
            ValueError: a column is missing, empty, not finite, or refused by the story's `check`.
        """
        if isinstance(data, Batch):
            return data.to(self.story.device)
        dtype = story_dtype(self.story, torch.get_default_dtype())
        columns = as_columns(data, dtype, self.program.wants, self.program.foreign)
        transform = getattr(data, "transform", None)
        if transform is not None:
            columns = dict(transform(columns))
        n, spec = len(next(iter(columns.values()))), self.story.training_spec
        total = spec.total if spec is not None and spec.total is not None else n
        batch = Batch(columns, n, total, torch.arange(n), spec.extra if spec is not None else {})
        for signature in self.program.signatures:
            signature.bind(batch)  # a missing column is reported in one line, before Pyro's trace adds its own
        check_finite(self.program, columns, batch.take, "data")
        check = getattr(self.story, "check", None)
        if check is not None:
            check(self.program.named(columns))
        return batch.to(self.story.device)


@contextmanager
def evaluation_context(fitted: Any, seed: int | None = None) -> Iterator[EvaluationContext]:
    """Run a trained story: evaluation mode, no gradients, its own parameter store and device, draws from `seed`.

    On leaving, mode, parameter store and, where a seed was given, random state are as they were. A bare pair is one
    that stock SVI trained: its parameters are looked up in Pyro's global store.

    Args:
        fitted: a `Fit`, a `Story`, or a pair `(model, guide)`.
        seed: of the draws; None continues torch's own generators.

    Yields:
        The context: `.story`, `.program`, and `.batch(data)`.

    Raises:
        TypeError: `fitted` is none of the three.
        ValueError: a bare pair makes parameters only now, so that it was never trained.

    Example:
        >>> from pyrogen.models import PPCA
        >>> with evaluation_context(PPCA(3, latent=1), seed=0) as context:
        ...     context.batch(torch.randn(5, 3)).n
        5
    """
    inner = getattr(fitted, "story", None)
    story = inner if isinstance(inner, Story) and not isinstance(fitted, Story) else as_story(fitted)
    if isinstance(fitted, tuple):
        story.adopt_parameters(Store.current())
    with ONE_THREAD, seeded(seed) if seed is not None else nullcontext(), story.predicting():
        known = {id(p) for module in story.all_modules() for p in module.parameters(recurse=False)}
        known |= {id(p) for p in story.trainable().values()}
        yield EvaluationContext(story)
        new = [name for name, p in story.trainable().items() if id(p) not in known]
        if new and isinstance(fitted, tuple):
            raise ValueError(
                f"the pair {story.name} was not trained: its parameter '{new[0]}' is not in Pyro's parameter store. "
                "Pass what fit((model, guide), data) returned, which keeps the pair's parameters"
            )
