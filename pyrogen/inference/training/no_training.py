"""Stories whose whole fit is `prepare`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyrogen.inference.program.program import live_weights
from pyrogen.story import Batch, Story

__all__ = ["NoTraining"]


class NoTraining:
    """The steps of a story whose whole fit is `prepare`: none."""

    elbo, mode_reason = True, ""

    def __init__(self, story: Story) -> None:
        self.story = story

    def __call__(self, batch: Batch, epoch: float) -> Tensor:
        """Never called: the loop's limit is 0 epochs."""
        raise AssertionError("a story without steps takes none")

    def synchronize(self) -> None:
        """No loss was taken."""

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, live."""
        return live_weights(self.story)

    def averages(self) -> None:
        """None are kept."""

    def figures(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to do."""
