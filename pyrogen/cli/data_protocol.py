"""Data as a likelihood needs them, and their protocol in a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import typer
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from pyrogen.catalog import CATALOG, Entry
from pyrogen.catalog.settings import settings_of
from pyrogen.data import Columns, Splits, data_root, describe
from pyrogen.data.registry import needs_root, read
from pyrogen.data.texts import encoded_as
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, Story

DEQUANTIZED = "dequantized"
"""The mode of preparation beside those of `Splits.binarized`."""
_MAX_LABEL = 10_000
"""Columns of whole numbers up to here are labels, whose frequencies are kept."""


def check_data_dir(source: str, root: Path | None) -> None:
    """Refuse a directory of data sets where the data are not looked for in it.

    Args:
        source: the data.
        root: the option `--data-dir`; None: not given.

    Raises:
        typer.BadParameter: it has no effect.
    """
    if root is not None and not needs_root(source):
        raise typer.BadParameter(
            f"it has no effect with --data {source}, which is not looked for there: leave it out",
            param_hint="'--data-dir'",
        )


def check_columns_of(entry: Entry, settings: Mapping[str, Any], raw: Splits) -> None:
    """Refuse data without the columns that a built-in story needs, and say what they have.

    Args:
        entry: the story's.
        settings: those that were set.
        raw: the data.

    Raises:
        ValueError: there is no `x`, or there are no labels `y` for a story that is given labels.
    """
    asked = settings_of(entry.build)
    if entry.name not in CATALOG or "event_shape" not in asked:
        return
    have = ", ".join(f"{name!r} {tuple(column.shape[1:])}" for name, column in raw.train.items())
    if "x" not in raw.train:
        raise ValueError(
            f"{raw.name} has the columns {have} (name and shape of a row); {entry.name} expects 'x', and labels as "
            "'y': save them by numpy.savez(FILE, x=..., y=...)"
        )
    given_labels = entry.name.startswith("conditional_") or settings.get("conditional") is True
    labelled = "classes" in asked and (asked["classes"].required or given_labels)
    if not labelled or raw.classes is not None or settings.keys() & {"condition", "classes"}:
        return
    y = raw.train.get("y")
    found = f"the columns {have}"
    if y is not None and y.dtype == torch.int64 and y.dim() == 1:
        found = f"'y' from {int(y.min()):,} to {int(y.max()):,} with {len(y.unique()):,} different values"
    elif y is not None:
        found = f"'y' of {str(y.dtype).removeprefix('torch.')} and shape (n, {', '.join(map(str, y.shape[1:]))})"
    vector = ", or a vector 'y' with --set condition=[LENGTH]" if "condition" in asked else ""
    raise ValueError(
        f"{raw.name} has {found}; {entry.name} expects labels 'y', whole numbers from 0 to the number of classes - 1"
        f"{vector}: number them by numpy.unique(y, return_inverse=True)[1]"
    )


def required_preparation(story: Story, splits: Splits) -> str:
    """How a story's likelihood needs grey values to be prepared.

    Args:
        story: runs on two rows; lazy parameters are made.
        splits: the data as loaded.

    Returns:
        `static`, `dequantized` or `none`.
    """
    # Without a density there is a squared error, which takes grey values as they are.
    has_density = "density" not in story.unsupported and "x" in splits.train
    support = likelihood_support(story, splits.train) if has_density else None
    if support is None:
        return "none"
    if isinstance(support, type(constraints.boolean)):
        x = splits.train["x"]
        binary = bool(((x == 0) | (x == 1)).all())
        # Values outside [0, 1] are no grey values; the story's own check explains what is wrong with them.
        return "none" if binary or not bool(((x >= 0) & (x <= 1)).all()) else "static"
    return "none" if support.is_discrete or splits.levels is None else DEQUANTIZED


def likelihood_support(story: Story, columns: Columns) -> Any:
    """The support of each element of `x` under the likelihood, from a run on two rows.

    Args:
        story: the story.
        columns: data with a column `x`.

    Returns:
        The constraint; None if the story does not run, or has no likelihood of `x`.
    """
    rows = columns.take(slice(0, 2))
    program = Program(story)
    for x in (rows["x"], None):
        batch_columns: dict[str | int, Any] = {name: x if name == "x" else column for name, column in rows.items()}
        batch = Batch(batch_columns, rows.rows, columns.rows, torch.arange(rows.rows)).to(story.device)
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


def prepare(splits: Splits, mode: str, seed: int = 0) -> Splits:
    """Binarize or dequantize data.

    Args:
        splits: the data as loaded.
        mode: `static`, `dynamic`, `threshold`, `dequantized` or `none`.
        seed: of the draws of `static`, `dynamic` and `dequantized`; 0 by default.

    Returns:
        The prepared data.
    """
    return splits.dequantized(seed) if mode == DEQUANTIZED else splits.binarized(mode, seed)


def preparation_mode(protocol: Mapping[str, Any]) -> str:
    """How data of a protocol were prepared.

    Args:
        protocol: that of `Splits.protocol`, or of config.json.

    Returns:
        `static`, `dynamic`, `threshold`, `dequantized` or `none`.
    """
    return DEQUANTIZED if protocol.get("dequantize") else protocol.get("binarize") or "none"


def describe_preparation(splits: Splits) -> str:
    """How data were prepared, in words.

    Args:
        splits: the prepared data.

    Returns:
        The words, with the seed of the draws.
    """
    mode, seed = preparation_mode(splits.protocol()), f"seed {splits.seed}"
    draws = {
        "static": f"{seed}: our own draw",
        "dynamic": f"held-out data static, {seed}",
        DEQUANTIZED: f"held-out data {seed}",
    }
    kind = DEQUANTIZED if mode == DEQUANTIZED else "not binarized" if mode == "none" else f"{mode} binarization"
    return f"{kind} ({draws[mode]})" if mode in draws else kind


def build_protocol(splits: Splits, source: str, root: Path | None) -> dict[str, Any]:
    """What config.json keeps of data: their protocol, where they come from, and how often each label occurs.

    Args:
        splits: the data.
        source: the option `--data`.
        root: the option `--data-dir`.

    Returns:
        The protocol, ready for JSON.
    """
    return {
        **splits.protocol(),
        "source": _absolute(source),
        "root": None if root is None else str(root.expanduser().absolute()),
        "label_frequencies": {name: counts for name, column in splits.train.items() if (counts := _counts(column))},
    }


def _absolute(source: str) -> str:
    """A file's absolute path, so that it can be read from another directory; the name of a data set as it is."""
    known = {name for name, _ in describe()}
    path = Path(source).expanduser()
    is_name = source.lower() in known or source.lower().replace("_", "-") in known or not path.exists()
    return source if is_name else str(path.absolute())


def _counts(column: Tensor) -> list[int] | None:
    """How often each label occurs, if the column is of labels; -1 is a missing label."""
    if column.dtype != torch.int64 or column.dim() != 1 or int(column.min()) < -1 or int(column.max()) > _MAX_LABEL:
        return None
    return column[column >= 0].bincount().tolist() or None


def print_notes(splits: Splits) -> None:
    """Print how data were understood, where that is not obvious.

    Args:
        splits: the data.
    """
    for note in splits.notes:
        print(f"{splits.name}: {note}", flush=True)


def _in_codes_of(story: Story, splits: Splits, protocol: Mapping[str, Any]) -> Splits:
    """Data whose characters and classes have the numbers that they had in training."""
    alphabet, names = protocol.get("alphabet"), protocol.get("class_names")
    spec = story.training_spec
    if protocol and (splits.alphabet is None) != (alphabet is None):
        was, got = ("text", "numbers") if alphabet is not None else ("numbers", "text")
        raise ValueError(
            f"{splits.name}: the run was trained on {was}, and these data are {got}: pass data of its kind"
        )
    if alphabet is not None and spec is not None and "x" in spec.columns:
        splits = encoded_as(splits, alphabet, spec.columns["x"].shape[0])
    return splits if names is None else splits.with_class_names(tuple(names))


def reload_data(story: Story, config: Mapping[str, Any], source: str | None, root: Path | None) -> Splits:
    """Load the data that a run was trained on, or others, and prepare them as in training.

    Args:
        story: the trained story.
        config: the run's.
        source: other data; None: the run's own.
        root: the directory of data sets; None: `PYROGEN_DATA`, else the run's, else a cache.

    Returns:
        The prepared data.

    Raises:
        ValueError: config.json does not name the data, or their number of rows has changed.
    """
    protocol = config["data"]["protocol"] or {}
    name = source or protocol.get("source") or protocol.get("data")
    if name is None:
        raise ValueError("config.json does not name the data that the run was trained on: pass --data")
    check_data_dir(name, root)
    splits = read(name, data_root(root, protocol.get("root")))
    if source is not None:
        print_notes(splits)
    splits = _in_codes_of(story, splits, protocol)
    rows = splits.protocol()["rows"]
    if source is None and rows != protocol["rows"]:
        then, now = ("/".join(map(str, sizes.values())) for sizes in (protocol["rows"], rows))
        raise ValueError(f"{name} has {now} rows, and had {then} in training: restore it, or pass --data {name}")
    mode = preparation_mode(protocol) if protocol else required_preparation(story, splits)
    return prepare(splits, mode, protocol.get("seed", 0))
