"""One call of `fit`: defaults are chosen, the run is started or resumed, and the loop is set up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from pyrogen.inference.batching.from_data import Batches, make_batches, training_checksums
from pyrogen.inference.batching.loader_batches import LoaderBatches
from pyrogen.inference.batching.row_batches import RowBatches
from pyrogen.inference.persistence.config import check_same_run, configuration, damaged_fields, spec_from_json
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.program.input_checks import check_batch_scale, check_values, explain, is_auto
from pyrogen.inference.program.isolation import isolated_run, shape_lazy_parameters
from pyrogen.inference.program.nonfinite import check_finite
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.rng import preserve_random_state, set_seed
from pyrogen.inference.program.training_rows import check_validation_rows
from pyrogen.inference.training.defaults import DEFAULT_BATCH, is_local, objective_for, trace_first_batch
from pyrogen.inference.training.loop import Loop
from pyrogen.inference.training.result import Fit, release
from pyrogen.inference.training.training_step import NoTraining, TrainingStep
from pyrogen.inference.training.validation import VALIDATION_SEED_OFFSET, mean_elbo
from pyrogen.story import Batch, Story, TrainingSpec

MakeStep = Callable[[Program, Any, Options, Batches], TrainingStep]
"""From program, objective, options and training data to the step of SVI."""

_INJECTED = {
    "n": "number of rows in the batch",
    "total": "number of rows in the training set",
    "index": "positions of the rows",
}

_ROWS_CHECKED = 1024
"""Rows that a story's `check` is given of data that are transformed anew for each batch."""


class Trainer:
    """Everything that one call of `fit` puts together, in the story's parameter store.

    Args:
        story: the story.
        data: training data, whatever `fit` takes.
        validation: validation data, or None.
        options: of `fit`.
        dtype: of floating-point columns.
        make_step: makes the step of SVI.

    Raises:
        ValueError: the story refuses the data, or the objective does not fit the story.
    """

    def __init__(
        self, story: Story, data: Any, validation: Any, options: Options, dtype: torch.dtype, make_step: MakeStep
    ) -> None:
        self.started = time.monotonic()
        self.story, self.options, self.make_step = story, options, make_step
        self.program = Program(story, options.arguments)
        self.trains = "steps" not in story.unsupported
        batches = self._batches(data, dtype, None)
        self._check_columns(batches, "data")
        small = batches.with_size(DEFAULT_BATCH, None)
        shape_lazy_parameters(self.program, small.first)
        first = trace_first_batch(self.program, small) if self.trains else None
        size = options.batch_size or (DEFAULT_BATCH if is_local(story, first) else None)
        self.batches = batches.with_size(size, options.seed)
        self.validation = None
        if validation is not None:
            self.validation = self._validation_batches(validation, dtype, batches.rows).with_size(size, None)
            self._check_columns(self.validation, "validation")
        self.objective = objective_for(story, options.objective, first)
        held_out = None if self.validation is None else self.validation.description
        release(story)
        self.fit = Fit(story, config=configuration(story, batches.description, held_out, batches.protocol, options))
        self.divisors: dict[int, float] = {}

    def _batches(self, data: Any, dtype: torch.dtype, total: int | None) -> Batches:
        device = self.options.device
        any_name = self.program.foreign
        wants = self.program.wants
        return make_batches(data, wants, device=device, dtype=dtype, total=total, describe=True, any_name=any_name)

    def _validation_batches(self, validation: Any, dtype: torch.dtype, total: int | None) -> Batches:
        """The validation data; what is wrong with them is told as such."""
        try:
            return self._batches(validation, dtype, total)
        except (TypeError, ValueError) as error:
            text = str(error).removeprefix("data: ")
            raise type(error)(f"validation: {text}") from error

    def _check_columns(self, batches: Batches, what: str) -> None:
        """Let the story refuse columns in memory; those that are transformed for each batch by one example."""
        check = getattr(self.story, "check", None)
        if batches.stored is None:
            return
        if isinstance(batches, RowBatches):
            check_finite(self.program, batches.stored, batches.batch, what)
        self._check_injected(batches)
        if check is None:
            return
        columns = self.program.named(batches.stored)
        if batches.transform is not None:
            with preserve_random_state():
                columns = batches.transform({name: column[:_ROWS_CHECKED] for name, column in columns.items()})
        try:
            check(columns)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None

    def _check_injected(self, batches: RowBatches | LoaderBatches) -> None:
        """Refuse to fill in `n`, `total` or `index` of a plain function where a column of the data could be meant."""
        used = list(batches.stored or {})
        by_name = self.program.foreign and all(isinstance(key, str) for key in used)
        unclaimed = [key for key in batches.description if not self.program.wants(key)] if by_name else []
        if not unclaimed or "class" in batches.description:
            return
        for signature in self.program.signatures:
            for name in signature.injected(used, self.program.arguments):
                raise ValueError(
                    f"{signature.owner} asks for '{name}', which would be the {_INJECTED[name]}, and the data has a "
                    f"column '{unclaimed[0]}' that no argument takes: rename one of the two if they are meant to be "
                    f"the same, leave the column out, or pass arguments={{'{name}': ...}}"
                )

    @contextmanager
    def running(self) -> Iterator[Loop]:
        """Start or resume the run, and tidy up after it.

        Yields:
            The loop, ready to run.
        """
        directory = RunDirectory(self.options.out) if self.options.out is not None else None
        with directory.locked() if directory is not None else nullcontext():
            yield from self._running(directory)

    def _running(self, directory: RunDirectory | None) -> Iterator[Loop]:
        checkpoint = self._checkpoint(directory)
        for parameter in self.story.trainable().values():
            if not parameter.is_contiguous():  # Pyro's store would hold a copy, and the parameter would never learn
                parameter.data = parameter.data.contiguous()
        self.step = self._training_step()
        by_svi = self.trains and not hasattr(self.story, "training_steps")
        validate = self._validate if self.validation is not None and by_svi else None
        options = self.options if self.trains else replace(self.options, epochs=0, steps=None)
        loop = Loop(self.step, self.batches, options, self.fit, validate, directory, self._about)
        if checkpoint is None:
            self._prepare()
            self._check_validation()
        else:
            self._restore(loop, checkpoint)
        try:
            yield loop
            self._keep_arguments()
        finally:
            self.step.close()
            for callback in self.options.callbacks:
                getattr(callback, "close", lambda: None)()
            self._report_mode()
            for parameter in self.story.trainable().values():
                parameter.grad = None

    def _training_step(self) -> TrainingStep:
        """The story's own, if it has one, else that of SVI."""
        if not self.trains:
            return NoTraining(self.story)
        own = getattr(self.story, "training_steps", None)
        if own is not None:
            step: TrainingStep = own(self.program, self.options, self.batches, self.validation)
            return step
        return self.make_step(self.program, self.objective, self.options, self.batches)

    def _about(self) -> dict[str, Any]:
        self._report_mode()
        self._keep_arguments()
        return self.fit.about()

    def _report_mode(self) -> None:
        """Put into the result how steps are taken; a resumed run keeps what it was until it has taken some."""
        if self.step.first_step_at is not None:
            self.fit.mode, self.fit.first_step_seconds = self.step.mode, self.step.first_step_at - self.started
        self.fit.mode_reason = self.step.mode_reason

    def _keep_arguments(self) -> None:
        """Keep the further arguments' latest values, and which data these were."""
        spec, history = self.story.training_spec, self.fit.history
        if spec is not None:
            extra = self.program.at_step(Batch({}, spec.n), history[-1]["step"] if history else 0).extra
            self.story.training_spec = replace(spec, extra=extra, checksums=training_checksums(self.batches))

    def _validate(self) -> float:
        assert self.validation is not None
        step = self.fit.history[-1]["step"] if self.fit.history else 0
        seed = self.options.seed + VALIDATION_SEED_OFFSET
        if len(self.fit.history) <= 1:
            check_validation_rows(self.program, self.validation.first())
        return mean_elbo(self.program, self.objective, self.validation, seed, self.divisors, step)

    def _check_validation(self) -> None:
        """Run guide and model once on validation data, so that what is wrong is reported before the first step."""
        if not isinstance(self.validation, RowBatches):
            return
        recording = Recording(self.program.at_step(self.validation.first(), 0))
        try:
            with isolated_run(self.story):
                if is_auto(self.story):  # its latents of single rows are those of the training data
                    recording.run_model(self.program)
                else:
                    recording.run(self.program)
            check_values(self.story, recording)
        except Exception as error:
            try:  # training data that fail as well are reported by the first step
                with isolated_run(self.story):
                    Recording(self.program.at_step(self.batches.first(), 0)).run(self.program)
            except Exception:
                return
            readable = explain(self.story, recording, error)
            if readable is error and not isinstance(error, ValueError):
                raise
            raise ValueError(f"validation: {readable}") from error
        check_batch_scale(self.story, recording, self.batches.rows, "validation batches hold")

    def _prepare(self) -> None:
        """Call the story's `prepare` on the training columns, unless the story was fitted before and takes steps."""
        prepare = getattr(self.story, "prepare", None)
        if prepare is None or (self.trains and self.story.training_spec is not None):
            return
        if isinstance(self.batches, LoaderBatches):
            raise ValueError(
                f"{self.story.name} prepares on the whole training set: pass columns instead of a DataLoader"
            )
        columns = self.batches.columns(torch.arange(self.batches.rows, device=self.options.device))
        with torch.no_grad():
            prepare(self.program.named(columns))
        if not self.trains:
            self.story.training_spec = self._training_spec()
        set_seed(self.options.seed)

    def _training_spec(self) -> TrainingSpec:
        """What is kept of the training data where no step records it."""
        recording = Recording(self.batches.first())
        if "density" not in self.story.unsupported:
            with isolated_run(self.story):
                recording.run_model(self.program)
        return recording.training_spec()

    def _checkpoint(self, directory: RunDirectory | None) -> dict[str, Any] | None:
        """The state to continue from, if there is one and it is of the same run."""
        if directory is None or not directory.used:
            return None
        if not self.options.resume:
            raise ValueError(
                f"{directory.path} already holds a run: pass resume=True (--resume) to continue it, or another folder"
            )
        if not directory.can_resume:
            if (directory.path / "weights.safetensors").exists():
                raise ValueError(
                    f"{directory.path} holds weights and no checkpoint (resume.safetensors) to continue from, as "
                    "Fit.save leaves it: load it, and fit its story into another folder"
                )
            return None
        state, config = directory.checkpoint()
        mine = self.fit.config
        for part in ("story", "data", "options"):
            check_same_run(config[part], mine[part], part)
        limit = mine["limit"]
        mine.clear()
        mine.update({**config, "limit": limit})
        return dict(state)

    def _restore(self, loop: Loop, state: dict[str, Any]) -> None:
        directory = loop.directory
        assert directory is not None
        with damaged_fields(directory.path / "resume.safetensors"):
            loop.restore(state)
            spec, about = state["about"]["seen"], state["about"]
            self.story.training_spec, self.fit.mode = spec_from_json(spec) if spec else None, about["mode"]
        self._keep_arguments()
        if loop.over and not directory.checked:
            return
        directory.restore_files(self.fit.history, self.fit.config, loop.reopen is not None)
        if directory.checked:
            directory.write_weights(self.fit.kept(loop.selected()), self.fit.config, **{**about, "finished": loop.over})
