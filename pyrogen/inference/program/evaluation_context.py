"""A trained story ready to answer questions: evaluation mode, its own parameter store, a seed, data as one batch."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.batching.from_data import Batches, as_columns, make_batches
from pyrogen.inference.batching.row_batches import RowBatches
from pyrogen.inference.program.input_checks import describe_column
from pyrogen.inference.program.nonfinite import check_finite
from pyrogen.inference.program.precision import story_dtype
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import seeded
from pyrogen.story import ONE_THREAD, RESERVED, Batch, Store, Story, as_story
from pyrogen.story.observations import name_of


@dataclass(frozen=True)
class EvaluationContext:
    """What `evaluation_context` gives.

    Args:
        story: the story, in evaluation mode and in its own parameter store.
        seen: the batches that `batch` made; empty by default.
    """

    story: Story
    seen: list[Batch] = field(default_factory=list, repr=False)

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
            self.seen.append(Batch(batches.stored, batches.rows))
        return batches

    def batch(self, data: Any, predictive: bool = False) -> Batch:
        """All of the data as one batch, on the story's device and in its floating-point type.

        Args:
            data: a `Batch`, or whatever `fit` takes but a `DataLoader`.
            predictive: whether columns may be left out, or None, which the program then draws; False by default.

        Returns:
            The batch; `total` is that of the training set, where the story has seen one.

        Raises:
            TypeError: `data` is of no kind that `fit` knows.
            ValueError: a column is missing, empty, not finite, or refused by the story's `check`.
        """
        if isinstance(data, Batch):
            return data.to(self.story.device)
        dtype = story_dtype(self.story, torch.get_default_dtype())
        absent: dict[str | int, None] = {}
        if predictive and isinstance(data, Mapping | tuple):
            data = dict(data if isinstance(data, Mapping) else enumerate(data))
            absent = {key: data.pop(key) for key in [key for key, column in data.items() if column is None]}
            if absent and not data:
                raise ValueError(f"every column is None ({_listed(absent)}), so the number of rows is not known")
        columns = as_columns(data, dtype, self.program.wants, self.program.foreign)
        transform = getattr(data, "transform", None)
        if transform is not None:
            columns = dict(transform(columns))
        n, spec = len(next(iter(columns.values()))), self.story.training_spec
        total = spec.total if spec is not None and spec.total is not None else n
        batch = Batch({**columns, **absent}, n, total, torch.arange(n), spec.extra if spec is not None else {})
        if predictive and any(self.program.wants(key) for key in columns):
            batch = self._with_absent(batch)
        for signature in self.program.signatures:
            signature.bind(batch)  # a missing column is reported in one line, before Pyro's trace adds its own
        check_finite(self.program, columns, batch.take, "data")
        check = getattr(self.story, "check", None)
        if check is not None and len(columns) == len(batch.columns):
            check(self.program.named(columns))
        self.seen.append(batch)
        return batch.to(self.story.device)

    def _with_absent(self, batch: Batch) -> Batch:
        """The batch with None for columns that model or guide asks for, that training had, and that the data lack."""
        spec, model = self.story.training_spec, self.program.signatures[0]
        named = {name_of(key, model) for key in batch.columns} | {*batch.extra, *RESERVED}
        known = None if spec is None else {name_of(key, model) for key in spec.columns}
        asked = [p.name for s in self.program.signatures for p in s.parameters if p.default is p.empty]
        missing = [name for name in dict.fromkeys(asked) if name not in named and (known is None or name in known)]
        return replace(batch, columns={**batch.columns, **dict.fromkeys(missing)})

    def explain(self, error: Exception) -> Exception:
        """A one-line error for a program that fails on the latest batch.

        Args:
            error: the failure.

        Returns:
            A ValueError that names the story and its columns; `error` itself where it is readable already, or was not
            raised by a run of the program.
        """
        modules = [str(f.f_globals.get("__name__", "")) for f, _ in traceback.walk_tb(error.__traceback__)]
        raised_here = isinstance(error, ValueError) and modules[-1].split(".")[0] == "pyrogen"
        text = str(error)
        name, columns = self.story.name, self.seen[-1].columns if self.seen else {}
        absent = {key: None for key, column in columns.items() if column is None}
        program = bool(absent) or any(module.split(".")[0] == "pyro" for module in modules)
        if not program or (raised_here and "\n" not in text):
            return error
        first = (text.splitlines() or [""])[0].rstrip(":")
        if raised_here:
            return type(error)(first)
        kind = type(error).__name__
        what = first if first and isinstance(error, ValueError | RuntimeError) else f"{kind}: {first}".rstrip(": ")
        if absent:
            names = ", ".join(f"{name_of(key, self.program.signatures[0])}=None" for key in absent)
            problem = f"{name} cannot draw without column {_listed(absent)} ({what}): add it to the data, or let model "
            explained = ValueError(f"{problem}and guide accept {names}")
        else:
            described = ", ".join(describe_column(key, c) for key, c in columns.items() if isinstance(c, Tensor))
            explained = ValueError(f"{name} cannot run on these columns ({described or 'none'}): {what}")
        explained.add_note(text)
        return explained


def _listed(columns: Mapping[str | int, Any]) -> str:
    return ", ".join(repr(key) for key in columns)


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
        ValueError: a bare pair makes parameters only now, so that it was never trained; or the program fails, in one
            line that names the columns.

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
        context = EvaluationContext(story)
        try:
            yield context
        except Exception as error:
            readable = context.explain(error)
            if readable is error:
                raise
            raise readable from error
        new = [name for name, p in story.trainable().items() if id(p) not in known]
        if new and isinstance(fitted, tuple):
            raise ValueError(
                f"the pair {story.name} was not trained: its parameter '{new[0]}' is not in Pyro's parameter store. "
                "Pass what fit((model, guide), data) returned, which keeps the pair's parameters"
            )
