"""What the training loop requires of the steps that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from pyrogen.inference.program.isolation import live_weights
from pyrogen.inference.program.nonfinite import advise_scale
from pyrogen.story import Batch, Story


class TrainingStep(Protocol):
    """A step of training: of SVI, or of a critic and a generator in turn."""

    elbo: bool
    """Whether the loss is minus an ELBO, which a record holds as `train_elbo`."""
    first_step_at: float | None
    """Time (`time.monotonic`) of the first step taken in the run's final mode; None before it."""

    @property
    def mode(self) -> str:
        """How steps are taken: "eager" or "compiled"."""

    @property
    def mode_reason(self) -> str:
        """Why steps are not compiled, where they are not."""

    def __call__(self, batch: Batch, epoch: float) -> float:
        """Take one step on a batch, `epoch` epochs into training; its loss before the step, in nats per datum."""

    def run_steps(self, batch: Batch, most: int) -> list[float]:
        """Take steps on the batch of the step before.

        Args:
            batch: the rows.
            most: number of steps at most.

        Returns:
            The losses before the steps, in nats per datum; none where steps must be taken one by one.
        """
        return []

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of what is trained, live."""

    def averages(self) -> dict[str, Tensor] | None:
        """Averaged values of some of the weights, if they are kept."""
        return None

    def metrics(self) -> dict[str, Any]:
        """What a record holds besides the loss.

        Returns:
            Numbers and short texts, by name.
        """
        return {}

    def close(self) -> None:
        """No further step is taken."""
        return None

    def state(self) -> dict[str, Any]:
        """Optimizers and the like; the weights are kept apart.

        Returns:
            The state, for a checkpoint.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
        return None


class NoTraining(TrainingStep):
    """The step of a story whose whole fit is `prepare`: it takes none.

    Args:
        story: the story.
    """

    elbo, mode, mode_reason = True, "eager", ""
    first_step_at: float | None = None

    def __init__(self, story: Story) -> None:
        self.story = story

    def __call__(self, batch: Batch, epoch: float) -> float:
        """Never called: the loop stops after 0 epochs."""
        raise AssertionError("a story without steps takes none")

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live.

        Returns:
            By name.
        """
        return live_weights(self.story)


def check_weights(weights: Mapping[str, Tensor], step: int, kept: bool, columns: Any) -> None:
    """Check that no parameter has become infinite or NaN.

    Args:
        weights: by name.
        step: number of steps taken.
        kept: whether there is a run directory, whose last checkpoint stays.
        columns: the data by column, whose scale may be the reason; None where they are not in memory.

    Raises:
        FloatingPointError: one has; names it.
    """
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if bad:
        raise FloatingPointError(
            f"parameter '{bad[0]}' is not finite after step {step}: {advise_scale(columns)}lower the learning rate or "
            "pass clip_norm=" + ("; the last checkpoint is kept" if kept else "")
        )
