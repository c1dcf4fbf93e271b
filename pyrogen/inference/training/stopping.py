"""When training ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoppingCriterion:
    """When training ends: after so many epochs or steps, or after epochs without a better validation ELBO.

    Args:
        epochs: number of passes over the data; None by default.
        steps: number of steps, in place of epochs; None by default.
        patience: epochs without a better validation ELBO after which training ends; None, the default: never.
    """

    epochs: int | None = None
    steps: int | None = None
    patience: int | None = None

    def remaining(self, step: int, epoch: int) -> int:
        """Steps, where they are limited, else epochs, that are left.

        Args:
            step: steps taken.
            epoch: epochs completed.

        Returns:
            At least 0.
        """
        if self.steps is not None:
            return max(0, self.steps - step)
        return max(0, (self.epochs or 0) - epoch)

    def reached_within_epoch(self, step: int) -> bool:
        """Whether the last step was taken, in the middle of an epoch or not.

        Args:
            step: steps taken.

        Returns:
            False where epochs are limited instead.
        """
        return self.steps is not None and step >= self.steps

    def total_steps(self, steps_per_epoch: int | None) -> int | None:
        """Steps of the whole run.

        Args:
            steps_per_epoch: steps in an epoch, where known.

        Returns:
            The number of steps, or None where it is not known.
        """
        if self.steps is not None or steps_per_epoch is None:
            return self.steps
        return steps_per_epoch * (self.epochs or 0)
