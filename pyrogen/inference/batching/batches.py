"""What training draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from pyrogen.story import Batch


class Batches(Protocol):
    """Batches of a data set, epoch by epoch: `RowBatches` or `LoaderBatches`."""

    rows: int | None
    """Rows in the data set, where known."""
    steps: int | None
    """Batches in an epoch, where known."""
    exact: bool
    """Whether the position within an epoch can be restored."""

    whole: Batch | None
    """The one batch of every epoch to come, where it is the same."""

    @property
    def unfinished_epoch(self) -> bool:
        """Whether an epoch was interrupted and can be continued."""

    def epoch(self) -> Iterator[Batch]:
        """The batches of an epoch, or the rest of one that was restored."""

    def close(self) -> None:
        """End the epoch; one that was interrupted is continued next time."""

    def state(self) -> dict[str, Any]:
        """Order and position, for a checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned.
        """
