"""What training draws its batches from."""

from __future__ import annotations

from pyrogen.inference.batching.loader_batches import LoaderBatches
from pyrogen.inference.batching.row_batches import RowBatches

Batches = RowBatches | LoaderBatches
"""Batches of a data set, epoch by epoch.

`rows` and `steps` are the rows in the data set and the batches in an epoch, where known; `exact` says whether the
position within an epoch can be restored; `whole` is the one batch of every epoch to come, where it is the same.
"""
