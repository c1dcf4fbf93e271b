"""What `fit` gives: the trained story with its history."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.persistence.config import spec_from_json, spec_to_json
from pyrogen.inference.persistence.run_directory import RunDirectory
from pyrogen.inference.program.isolation import isolated_run, shape_lazy_parameters
from pyrogen.inference.program.program import Program, Recording
from pyrogen.story import Story, TrainingSpec

__all__ = ["Fit"]


@dataclass
class Fit:
    """A trained story.

    Args:
        story: the story, its weights in place; a `Pair` where a pair was trained.
        history: one record an epoch: `epoch`, `step`, `train_elbo` (nats per datum; the objective's value, where it is
            tempered), `validation_elbo`, `seconds`, `lr`, ...; those of a GAN are told by `Adversarial`.
        best_epoch: the epoch with the best validation ELBO, if there was validation data.
        mode: how steps were taken: "eager", "compiled" or "captured".
        mode_reason: why, where they were not compiled.
        first_step_seconds: from the call of `fit` to the first step taken in that mode, compiling included.
        config: what config.json says.
    """

    story: Story
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    mode: str = "eager"
    mode_reason: str = ""
    first_step_seconds: float | None = None
    config: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        figures = [f"{name}={last[name]:.4g}" for name in ("train_elbo", "validation_elbo") if name in last]
        return f"Fit({self.story.name}, {', '.join([f'epochs={len(self.history)}', *figures, self.mode])})"

    def save(self, directory: str | Path) -> None:
        """Write a run folder that `pyrogen.load` reads: config, weights and history.

        Raises:
            ValueError: a run is kept there already; nothing is touched.
        """
        folder = RunDirectory(directory)
        if folder.used:
            raise ValueError(f"{directory} already holds a run, which would be lost: save to another folder")
        folder.begin(self.config)
        folder.write_history(self.history)
        with self.story.param_store_scope():
            weights = {**self.story.trainable(), **self.story.saved_buffers()}
        folder.write_weights(weights, self.config, **self.about())

    def about(self) -> dict[str, Any]:
        """What the weights file tells of itself."""
        seen = None if self.story.training_spec is None else spec_to_json(self.story.training_spec)
        return {"best_epoch": self.best_epoch, "mode": self.mode, "seen": seen}

    @classmethod
    def read(cls, folder: RunDirectory, story: Story) -> Fit:
        """Put a folder's weights into a story built to receive them.

        Raises:
            FileNotFoundError, ValueError: the folder is missing, damaged, or of another story.
        """
        config = folder.config()
        weights, about = folder.weights(config)
        seen = spec_from_json(about["seen"]) if about["seen"] else None
        put_weights(story, weights, seen, folder.path)
        story.training_spec = seen
        return cls(story, folder.history(), about["best_epoch"], about["mode"], config=config)


def put_weights(story: Story, weights: dict[str, Tensor], seen: TrainingSpec | None, path: Path) -> None:
    """Copy weights into a story in place; parameters that a first call makes are made by one on placeholders.

    Raises:
        ValueError: names or shapes do not agree; nothing was copied.
    """
    with story.param_store_scope(), torch.no_grad():
        if seen is not None:
            shape_lazy_parameters(Program(story), seen.placeholder)
        if set(weights) - set(_live(story)) and seen is not None:
            set_up(Program(story), seen)
        live = _live(story)
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


def set_up(program: Program, seen: TrainingSpec) -> Recording:
    """Let guide and model make their parameters by one call on placeholders; random state and buffers are kept."""
    with isolated_run(program.story, keep_parameters=True):
        batch = program.at_step(seen.placeholder().to(program.story.device), 0)
        return Recording(batch).run(program)


def _live(story: Story) -> dict[str, Tensor]:
    return {**story.trainable(), **story.saved_buffers()}
