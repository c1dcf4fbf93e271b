"""How long to train."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StoppingCriterion"]


@dataclass(frozen=True)
class StoppingCriterion:
    """How long to train: epochs or steps, and how many epochs without a better validation ELBO to bear."""

    epochs: int | None = None
    steps: int | None = None
    patience: int | None = None

    def left(self, step: int, epoch: int) -> int:
        """Steps, or epochs, to go after so many."""
        if self.steps is not None:
            return max(0, self.steps - step)
        return max(0, (self.epochs or 0) - epoch)

    def cuts(self, step: int) -> bool:
        """Whether an epoch ends here, however much of it is left."""
        return self.steps is not None and step >= self.steps

    def total(self, steps: int | None) -> int | None:
        """Steps in all, where known, when an epoch has so many."""
        if self.steps is not None or steps is None:
            return self.steps
        return steps * (self.epochs or 0)
