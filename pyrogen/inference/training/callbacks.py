"""Callbacks, called with (fit, record) after each epoch; one that returns True ends the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Writes every number of each epoch's record for TensorBoard (extra `tensorboard`).

    Args:
        folder: where the event files go.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            writer = __import__("torch.utils.tensorboard", fromlist=["SummaryWriter"])
        except ImportError:
            raise ImportError("TensorBoard is not installed: pip install 'pyrogen[tensorboard]'") from None
        self.writer = writer.SummaryWriter(str(folder))

    def __call__(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Write one record.

        Args:
            fit: the run.
            record: of an epoch.
        """
        for name, value in record.items():
            if isinstance(value, int | float) and name != "step":
                self.writer.add_scalar(name, value, record["step"])
        self.writer.flush()

    def close(self) -> None:
        """Close the event file, and end the thread that writes it; a later record opens another one."""
        self.writer.close()
