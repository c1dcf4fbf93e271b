"""The result of `fit`: the trained story with its history."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.persistence.config import damaged_fields, spec_from_json, spec_to_json
from pyrogen.inference.persistence.former_format import FORMER_NAMES, current_weights
from pyrogen.inference.persistence.further_arguments import restored_arguments
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.program.isolation import isolated_run, live_weights, shape_lazy_parameters
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.training.fingerprint import check_fingerprint, fingerprint
from pyrogen.story import Story, TrainingSpec
from pyrogen.story.snapshot import snapshot


@dataclass(eq=False)
class Fit:
    """A trained story.

    `fit` trains the story that it is given in place. A later fit of the same story gives this object a copy of it
    first, so that this posterior stays what it was.

    Args:
        story: the story, with its weights; a `Pair` where a pair of functions was trained.
        history: one record for each epoch: `epoch`, `step`, `train_elbo` (nats per datum; the objective's value, where
            it is tempered), `validation_elbo`, `seconds`, `lr`, ...; those of adversarial stories are described by
            `Adversarial`. Empty by default.
        best_epoch: the epoch with the best validation ELBO; None, the default, without validation data.
        mode: how steps were taken: "eager" (the default), "traced" or "compiled".
        mode_reason: why steps were not compiled; empty by default.
        first_step_seconds: from the call of `fit` to the first step in that mode, compiling included; None by default.
        config: the content of `config.json`; empty by default.
        finished: whether training came to its end; False where it was stopped, or is going on. True by default.
    """

    story: Story
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    mode: str = "eager"
    mode_reason: str = ""
    first_step_seconds: float | None = None
    config: dict[str, Any] = field(default_factory=dict)
    finished: bool = True

    def __post_init__(self) -> None:
        self._fingerprint: dict[str, Any] | None = None
        _FITS.setdefault(self.story, weakref.WeakSet()).add(self)

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        elbos = [f"{name}={last[name]:.4g}" for name in ("train_elbo", "validation_elbo") if name in last]
        return f"Fit({self.story.name}, {', '.join([f'epochs={len(self.history)}', *elbos, self.mode])})"

    def save(self, directory: str | Path) -> None:
        """Write a run directory that `pyrogen.load` reads: configuration, weights and history.

        Args:
            directory: its path; it is made if need be.

        Raises:
            ValueError: it holds a run already; nothing is written.
        """
        target = RunDirectory(directory)
        with target.locked():
            if target.used:
                raise ValueError(f"{directory} already holds a run, which would be lost: save to another folder")
            target.begin(self.config)
            target.write_history(self.history)
            with self.story.param_store_scope():
                target.write_weights(self.kept(live_weights(self.story)), self.config, **self.about())

    def kept(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the weights file holds.

        Args:
            weights: by name.

        Returns:
            The weights, and further arguments that are tensors.
        """
        extra = {} if self.story.training_spec is None else self.story.training_spec.extra
        tensors = {f"{ARGUMENT}{name}": value for name, value in extra.items() if isinstance(value, Tensor)}
        return {**weights, **tensors}

    def about(self) -> dict[str, Any]:
        """What the header of the weights file holds.

        Returns:
            Best epoch, mode, what the story was trained on, and whether the run is finished, ready for JSON.
        """
        spec = self.story.training_spec
        if spec is not None and self._fingerprint is None:
            self._fingerprint = fingerprint(self.story, spec)
        about = {"best_epoch": self.best_epoch, "mode": self.mode, "finished": self.finished}
        return {**about, "seen": None if spec is None else spec_to_json(spec), "fingerprint": self._fingerprint}

    @classmethod
    def read(cls, directory: RunDirectory, story: Story, arguments: Mapping[str, Any] | None = None) -> Fit:
        """Load a run directory's weights into a story that was built to receive them.

        A missing or damaged file, or one of another story, raises FileNotFoundError or ValueError.

        Args:
            directory: of the run.
            story: of the class and arguments that its configuration names.
            arguments: further arguments that are neither plain values nor tensors, as `fit` was given them; None, the
                default: none.

        Returns:
            The run.
        """
        config = directory.config()
        weights, about = directory.weights(config)
        tensors = {k.removeprefix(ARGUMENT): weights.pop(k) for k in list(weights) if k.startswith(ARGUMENT)}
        history = directory.history(about)
        directory.check_config(config)
        spec = None
        with damaged_fields(directory.path / "weights.safetensors"):
            best_epoch, mode, seen = about["best_epoch"], about["mode"], about["seen"]
            if seen:
                spec = spec_from_json(seen)
        if spec is not None:
            spec = replace(spec, extra=restored_arguments(seen, tensors, dict(arguments or {}), directory.path))
        _load_weights(story, weights, spec, directory.path, about["format"])
        if spec is not None:
            check_fingerprint(story, spec, about.get("fingerprint"), directory.path)
        story.training_spec = spec
        finished = about.get("finished", True)
        return cls(story, history, best_epoch, mode, config=config, finished=finished)


ARGUMENT = "arguments/"
"""Before the names of further arguments among the weights."""

_FITS: weakref.WeakKeyDictionary[Story, weakref.WeakSet[Fit]] = weakref.WeakKeyDictionary()
"""The results that hold a story."""


def release(story: Story) -> None:
    """Give the results of earlier fits of a story a copy of it, as the story is going to be trained further.

    Args:
        story: the story.
    """
    earlier = list(_FITS.pop(story, ()))
    if earlier:
        copied = snapshot(story)
        for run in earlier:
            run.story = copied
        _FITS[copied] = weakref.WeakSet(earlier)


def _load_weights(story: Story, weights: dict[str, Tensor], spec: TrainingSpec | None, path: Path, form: int) -> None:
    """Copy weights into a story in place; parameters that a first run makes are made by one on placeholders."""
    with story.param_store_scope(), torch.no_grad():
        if spec is not None:
            shape_lazy_parameters(Program(story), spec.placeholder)
            if len(weights) > len(live_weights(story)):
                _make_parameters(story, spec, path)
        live = {**story.trainable(), **story.saved_buffers()}
        weights = current_weights(weights, live, path) if form in FORMER_NAMES else weights
        missing, extra = sorted(set(live) - set(weights)), sorted(set(weights) - set(live))
        if missing or extra:
            only = f"lacks '{missing[0]}'" if missing else f"has '{extra[0]}', which the story lacks"
            raise ValueError(f"{path}: the weights do not fit {story.name}: the file {only}; is it another story's?")
        for name, tensor in live.items():
            if tensor.shape != weights[name].shape:
                shapes = f"{tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the story"
                raise ValueError(f"{path}: '{name}' has shape {shapes}: was the story built with the same arguments?")
        for name, tensor in live.items():
            if tensor.dtype != weights[name].dtype and tensor.is_floating_point():
                tensor.data = tensor.data.to(weights[name].dtype)
            tensor.copy_(weights[name])


def _make_parameters(story: Story, spec: TrainingSpec, path: Path) -> None:
    """Make parameters by a run on placeholders: of zeros, or of ones, as lengths of sequences must be positive."""
    program, failure = Program(story), None
    for value in (0, 1):
        batch = program.at_step(spec.placeholder(value=value).to(story.device), 0)
        try:
            with isolated_run(story, keep_parameters=True):
                Recording(batch).run(program)
            return
        except Exception as error:
            failure = error
    reason = (str(failure).splitlines() or [""])[0] or type(failure).__name__
    raise ValueError(
        f"{path}: {story.name} makes its parameters in its first run, and runs neither on zeros nor on ones in place "
        f"of data ({reason}): make them by a step, as in load(dir, into=fit((model, guide), data, steps=1).story)"
    ) from failure
