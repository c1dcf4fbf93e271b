"""Data as a likelihood needs them, and how a run folder remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from pyrogen.data import Columns, Splits, data_root, describe, load
from pyrogen.inference.program.program import Program, isolated_run
from pyrogen.story import Batch, Story

__all__ = ["mode_of", "needed", "preparation", "prepared", "protocol_of", "rebuilt", "support_of"]

DEQUANTIZED = "dequantized"
_LABELS = 10_000
"""Columns of whole numbers up to here are labels, whose frequencies are kept."""


def needed(story: Story, splits: Splits) -> str:
    """What the story's likelihood needs of grey values: `static`, `dequantized` or `none`.

    Args:
        story: runs a few times; lazy parameters are made.
        splits: the data as loaded.
    """
    scored = "density" not in story.unsupported and "x" in splits.train  # squared error takes grey values as they are
    support = support_of(story, splits.train) if scored else None
    if support is None:
        return "none"
    if isinstance(support, type(constraints.boolean)):
        x = splits.train["x"]
        binary = bool(((x == 0) | (x == 1)).all())
        # Values outside [0, 1] are no grey values: the story's own check says what is wrong with them.
        return "none" if binary or not bool(((x >= 0) & (x <= 1)).all()) else "static"
    return "none" if support.is_discrete or splits.levels is None else DEQUANTIZED


def support_of(story: Story, columns: Columns) -> Any:
    """The constraint on each number of `x` under the likelihood, from a run on two rows; None if there is none."""
    rows = columns.take(slice(0, 2))
    program = Program(story)
    for x in (rows["x"], None):
        drawn: dict[str | int, Any] = {name: x if name == "x" else c for name, c in rows.items()}
        batch = Batch(drawn, rows.rows, columns.rows, torch.arange(rows.rows)).to(story.device)
        with suppress(Exception), isolated_run(story), torch.device(story.device):
            trace = poutine.trace(program.model).get_trace(batch)
            support = _site_of_x(trace.nodes, batch.columns["x"])["fn"].support
            while hasattr(support, "base_constraint"):
                support = support.base_constraint
            return support
    return None


def _site_of_x(sites: Mapping[str, Any], x: Tensor | None) -> Any:
    """The site called `x`, else the one that observes it."""
    if "x" in sites and sites["x"]["type"] == "sample":
        return sites["x"]
    return next(s for s in sites.values() if s["type"] == "sample" and x is not None and s["value"] is x)


def prepared(splits: Splits, mode: str, seed: int = 0) -> Splits:
    """The data binarized or dequantized by a mode, one of the seed's draws where it takes any."""
    return splits.dequantized(seed) if mode == DEQUANTIZED else splits.binarized(mode, seed)


def mode_of(protocol: Mapping[str, Any]) -> str:
    """How data of a protocol were prepared: `static`, `dynamic`, `threshold`, `dequantized` or `none`."""
    return DEQUANTIZED if protocol.get("dequantize") else protocol.get("binarize") or "none"


def preparation(splits: Splits) -> str:
    """How data were prepared, in words."""
    mode, seed = mode_of(splits.protocol()), f"seed {splits.seed}"
    draws = {
        "static": f"{seed}: our own draw",
        "dynamic": f"held-out data static, {seed}",
        DEQUANTIZED: f"held-out data {seed}",
    }
    kind = DEQUANTIZED if mode == DEQUANTIZED else "not binarized" if mode == "none" else f"{mode} binarization"
    return f"{kind} ({draws[mode]})" if mode in draws else kind


def protocol_of(splits: Splits, source: str, root: Path | None) -> dict[str, Any]:
    """What config.json keeps of data: their protocol, where they come from, and how often each label occurs.

    Args:
        splits: the data.
        source: what `--data` was.
        root: what `--data-dir` was.
    """
    return {
        **splits.protocol(),
        "source": _lasting(source),
        "root": None if root is None else str(root.expanduser().absolute()),
        "label_frequencies": {name: counts for name, column in splits.train.items() if (counts := _counts(column))},
    }


def _lasting(source: str) -> str:
    """A file's path in full, so that it is found from another folder as well; a name as it is."""
    known = {name for name, _ in describe()}
    path = Path(source).expanduser()
    named = source.lower() in known or source.lower().replace("_", "-") in known or not path.exists()
    return source if named else str(path.absolute())


def _counts(column: Tensor) -> list[int] | None:
    if column.dtype != torch.int64 or column.dim() != 1 or int(column.min()) < -1 or int(column.max()) > _LABELS:
        return None
    return column[column >= 0].bincount().tolist() or None  # -1: the label is missing


def rebuilt(story: Story, config: Mapping[str, Any], source: str | None, root: Path | None) -> Splits:
    """The data that a run was trained on, or others prepared alike.

    Args:
        story: the trained story.
        config: the run's.
        source: other data; None: the run's own.
        root: the folder of data sets; None: `PYROGEN_DATA`, else the run's, else a cache.

    Raises:
        ValueError: the run does not tell its data, or they are others than they were.
    """
    protocol = config["data"]["protocol"] or {}
    known = source or protocol.get("source") or protocol.get("data")
    if known is None:
        raise ValueError("config.json does not tell what data the run was trained on: pass --data")
    splits = load(known, root=data_root(root, protocol.get("root")))
    rows = splits.protocol()["rows"]
    if source is None and rows != protocol["rows"]:
        then, now = ("/".join(map(str, sizes.values())) for sizes in (protocol["rows"], rows))
        raise ValueError(f"{known} has {now} rows, and had {then} in training: put it back, or pass --data {known}")
    mode = mode_of(protocol) if protocol else needed(story, splits)
    return prepared(splits, mode, protocol.get("seed", 0))
