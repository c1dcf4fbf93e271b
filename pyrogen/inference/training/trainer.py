"""One run of `fit`: choose what was left open, start or go on, and train."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pyro
import torch
from torch.utils.data import DataLoader, Dataset

from pyrogen.inference.batching.loader_batches import LoaderBatches
from pyrogen.inference.batching.row_batches import RowBatches, as_columns, batches_of
from pyrogen.inference.optim.optimizer import Optimization
from pyrogen.inference.persistence.config import compare, configuration
from pyrogen.inference.persistence.run_directory import RunDirectory, spec_from_json
from pyrogen.inference.program.input_checks import check_batch_scale, check_values, explain, is_auto
from pyrogen.inference.program.options import Options
from pyrogen.inference.program.program import Program, Recording, isolated_run, shape_lazy_parameters
from pyrogen.inference.program.rng import kept_random_state
from pyrogen.inference.svi.svi_step import SVIStep
from pyrogen.inference.training.defaults import DEFAULT_BATCH, is_local, objective_for, to_compile, trace_first_batch
from pyrogen.inference.training.loop import Loop
from pyrogen.inference.training.no_training import NoTraining
from pyrogen.inference.training.result import Fit
from pyrogen.inference.training.stopping import StoppingCriterion
from pyrogen.inference.training.training_step import TrainingStep
from pyrogen.inference.training.validation import mean_elbo
from pyrogen.story import Batch, Story, TrainingSpec

__all__ = ["Trainer"]

VALIDATION_SEED_OFFSET = 1_000_003
"""Added to the seed for validation: a story built from the same seed may hold the very noise it would be judged by."""


class Trainer:
    """Everything that one call of `fit` puts together; at home in the story's parameter store."""

    def __init__(self, story: Story, data: Any, validation: Any, options: Options, dtype: torch.dtype) -> None:
        self.started = time.monotonic()
        self.story, self.data, self.options, self.dtype = story, data, options, dtype
        self.program = Program(story, options.arguments)
        self.trains = "steps" not in story.unsupported
        first = self._batches(data, DEFAULT_BATCH, None)
        self._check(data, "data")
        shape_lazy_parameters(self.program, first.first)
        peek = trace_first_batch(self.program, first) if self.trains else None
        size = options.batch_size or (DEFAULT_BATCH if is_local(story, peek) else None)
        self.batches = self._batches(data, size, options.seed)
        total = self.batches.rows
        self.validation = None
        if validation is not None:
            self.validation = self._batches(validation, size, None, total)
            self._check(validation, "validation")
        self.objective = objective_for(story, options.objective, peek)
        self.fit = Fit(story, config=configuration(story, data, validation, options))
        self.divisors: dict[int, float] = {}

    def _check(self, data: Any, what: str) -> None:
        """Let the story refuse columns; those that are drawn anew for each batch are shown to it as one draw."""
        check = getattr(self.story, "check", None)
        if check is None or isinstance(data, DataLoader | Dataset):
            return
        columns = self.program.named(as_columns(data, self.dtype, self.program.wants))
        transform = getattr(data, "transform", None)
        if transform is not None:
            with kept_random_state():
                columns = transform({name: column[:1024] for name, column in columns.items()})
        try:
            check(columns)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None

    def _check_validation(self) -> None:
        """Run guide and model once on validation data, so that what is wrong with it is said before the first step."""
        if not isinstance(self.validation, RowBatches):
            return
        recording = Recording(self.program.at_step(self.validation.first(), 0))
        try:
            with isolated_run(self.story):
                if is_auto(self.story):  # its guide would be made here, and not in the first step
                    recording.model.around(self.program.model)(recording.batch)
                else:
                    recording.run(self.program)
            check_values(self.story, recording)
        except Exception as error:
            if self._fails_alike():
                return
            readable = explain(self.story, recording, error)
            if readable is error and not isinstance(error, ValueError):
                raise
            raise ValueError(f"validation: {readable}") from error
        check_batch_scale(self.story, recording, self.batches.rows, "validation batches hold")

    def _fails_alike(self) -> bool:
        """Whether the training data fail as well: then the first step says so, of them."""
        try:
            with isolated_run(self.story):
                Recording(self.program.at_step(self.batches.first(), 0)).run(self.program)
        except Exception:
            return True
        return False

    def _batches(self, data: Any, size: int | None, seed: int | None, total: int | None = None) -> Any:
        return batches_of(
            data,
            self.program.wants,
            batch_size=size,
            device=self.options.device,
            dtype=self.dtype,
            total=total,
            seed=seed,
        )

    def run(self) -> Fit:
        """Train, or go on training, to the limit."""
        folder = RunDirectory(self.options.out) if self.options.out is not None else None
        checkpoint = self._checkpoint(folder)
        for parameter in self.story.trainable().values():
            if not parameter.is_contiguous():  # Pyro's store would hold a copy, and the parameter would never learn
                parameter.data = parameter.data.contiguous()
        steps = self._steps()
        loop = self._loop(steps, folder)
        if checkpoint is None:
            self._prepare()
            self._check_validation()
        else:
            self._restore(steps, loop, checkpoint, folder)
        try:
            loop.run()
            self._remember_arguments()
        finally:
            if isinstance(steps, SVIStep):
                steps.compiler.close()
            self._tell_mode(steps)
            for parameter in self.story.trainable().values():
                parameter.grad = None
            self.fit.best_epoch = loop.best_epoch
        return self.fit

    def _tell_mode(self, steps: TrainingStep) -> None:
        """Let the fit say how steps are taken; what a resumed run says stands until it has taken some."""
        if isinstance(steps, SVIStep) and steps.first_step_at is not None:
            self.fit.mode, self.fit.first_step_seconds = steps.compiler.mode, steps.first_step_at - self.started
        self.fit.mode_reason = steps.mode_reason

    def _remember_arguments(self) -> None:
        """What the further arguments are at the end is what they are from now on."""
        seen, history = self.story.training_spec, self.fit.history
        if seen is not None and history:
            extra = self.program.at_step(Batch({}, seen.n), history[-1]["step"]).extra
            self.story.training_spec = replace(seen, extra=extra)

    def _steps(self) -> TrainingStep:
        """What the loop drives: the story's own steps, if it has any, else SVI's."""
        options, own = self.options, getattr(self.story, "training_steps", None)
        if not self.trains:
            return NoTraining(self.story)
        if own is not None:
            made: TrainingStep = own(self.program, options, self.batches, self.validation)
            return made
        if not (hasattr(self.objective, "differentiable_loss") or hasattr(self.objective, "loss_and_grads")):
            raise TypeError(
                f"{self.story.name} trains by SVI, and objective is a {type(self.objective).__name__}: pass a Pyro "
                "ELBO, or one of pyrogen.inference's"
            )
        return SVIStep(
            self.program,
            self.objective,
            Optimization(options.optimizer, options.schedule, options.clip_norm, options.ema),
            options.freeze,
            options.precision == "bfloat16",
            self.batches.rows,
            *to_compile(options, self.story, self.batches.steps),
        )

    def _loop(self, steps: TrainingStep, folder: RunDirectory | None) -> Loop:
        def report(record: dict[str, Any]) -> bool:
            self.fit.best_epoch = loop.best_epoch
            if not self.options.callbacks:
                return False
            with kept_random_state():  # a callback may draw: the run's noise does not depend on it
                answers = [callback(self.fit, record) for callback in self.options.callbacks]
            return any(answer is True for answer in answers)

        def about() -> dict[str, Any]:
            self._tell_mode(steps)
            return self.fit.about()

        unwatched = self.validation is None and not self.options.callbacks
        loop = Loop(
            steps,
            self.batches,
            self.options.limit if self.trains else StoppingCriterion(epochs=0),
            run_steps=steps.run_steps if isinstance(steps, SVIStep) and unwatched else None,
            validate=self._validate if self.validation is not None and isinstance(steps, SVIStep) else None,
            folder=folder,
            config=self.fit.config,
            report=report,
            about=about,
            progress=self.options.progress,
        )
        self.fit.history = loop.history
        return loop

    def _validate(self) -> float:
        assert self.validation is not None
        step = self.fit.history[-1]["step"] if self.fit.history else 0
        seed = self.options.seed + VALIDATION_SEED_OFFSET
        return mean_elbo(self.program, self.objective, self.validation, seed, self.divisors, step)

    def _prepare(self) -> None:
        """Let a new story look at the training columns once; the noise of training starts from the seed all the same.

        A story that was fitted before goes on from where it is, unless its whole fit is to look.
        """
        prepare = getattr(self.story, "prepare", None)
        if prepare is None or (self.trains and self.story.training_spec is not None):
            return
        if isinstance(self.batches, LoaderBatches):
            raise ValueError(
                f"{self.story.name} prepares on the whole training set: pass columns instead of a DataLoader"
            )
        assert self.batches.rows is not None
        columns = self.batches.columns(torch.arange(self.batches.rows, device=self.options.device))
        with torch.no_grad():
            prepare(self.program.named(columns))
        if not self.trains:
            self.story.training_spec = self._look()
        pyro.set_rng_seed(self.options.seed)

    def _look(self) -> TrainingSpec:
        """What there is to remember of the data where no step shows it."""
        recording = Recording(self.batches.first())
        if "density" not in self.story.unsupported:
            with isolated_run(self.story):
                recording.model.around(self.program.model)(recording.batch)
        return recording.training_spec()

    def _checkpoint(self, folder: RunDirectory | None) -> dict[str, Any] | None:
        """The state to go on from, if there is one and it is this run's.

        Raises:
            ValueError: the folder is used and not to be resumed, or the run in it had other options.
        """
        if folder is None or not folder.used:
            return None
        if not self.options.resume:
            raise ValueError(
                f"{folder.path} already holds a run: pass resume=True (--resume) to go on with it, or another folder"
            )
        if not folder.can_resume:
            if (folder.path / "weights.safetensors").exists():
                raise ValueError(
                    f"{folder.path} holds weights and no checkpoint to go on from, as Fit.save leaves it: load it, and "
                    "fit its story into another folder"
                )
            return None
        state, config = folder.checkpoint()
        mine = self.fit.config
        for part in ("story", "data", "options"):
            compare(config[part], mine[part], part)
        limit = mine["limit"]
        mine.clear()
        mine.update({**config, "limit": limit})
        return dict(state)

    def _restore(self, steps: TrainingStep, loop: Loop, state: dict[str, Any], folder: RunDirectory | None) -> None:
        seen = spec_from_json(state["about"]["seen"]) if state["about"]["seen"] else None
        if isinstance(steps, SVIStep) and seen is not None:
            # The first rows, not placeholders: a program may need data that make sense.
            with isolated_run(self.story, keep=True):
                recording = Recording(self.program.at_step(self.batches.first(), 0)).run(self.program)
            steps.register_parameters(recording)
            objective = getattr(self.objective, "base", self.objective)
            if getattr(objective, "max_plate_nesting", None) == math.inf:
                objective.max_plate_nesting = recording.nesting  # found by drawing, where a run begins
        self.story.training_spec, self.fit.mode = seen, state["about"]["mode"]
        loop.restore(state)
        if folder is not None:
            folder.restore_files(loop.history, self.fit.config)
            folder.write_weights(loop.selected(), self.fit.config, **state["about"])
