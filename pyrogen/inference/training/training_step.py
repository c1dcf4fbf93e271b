"""What the training loop asks of the steps that it takes."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from pyrogen.story import Batch

__all__ = ["TrainingStep"]


class TrainingStep(Protocol):
    """What a loop drives: SVI, or two players in turn."""

    elbo: bool
    """Whether the losses are minus an ELBO, which a record tells as `train_elbo`."""

    def __call__(self, batch: Batch, epoch: float) -> Tensor | float:
        """Take one step; its loss in nats per datum: a number, or a tensor that was not looked at yet."""

    def weights(self) -> dict[str, Tensor]:
        """The tensors that make up what is trained: parameters and buffers, live."""

    def averages(self) -> dict[str, Tensor] | None:
        """Averaged values of some of the weights, if they are kept."""

    @property
    def mode_reason(self) -> str:
        """Why steps are not compiled, where they are not."""

    def synchronize(self) -> None:
        """Raise FloatingPointError if a loss was not finite; losses need not be looked at as they come."""

    def figures(self) -> dict[str, Any]:
        """What a record should tell besides the losses: numbers, and words where they are called for."""

    def state(self) -> dict[str, Any]:
        """Optimizers and the like, for a checkpoint; the weights are kept apart."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
