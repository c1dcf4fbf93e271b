"""The account of a run, `config.json`, and what a resumed run must agree on."""

from __future__ import annotations

import json
import uuid
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import as_columns
from pyrogen.inference.persistence.run_directory import FORMAT, describe_story, versions
from pyrogen.inference.program.options import Options
from pyrogen.story import Story

__all__ = ["compare", "configuration"]


def configuration(story: Story, data: Any, validation: Any, options: Options) -> dict[str, Any]:
    """What `config.json` says of a run: story, data, options, limit, versions."""
    told = versions()
    return {
        "pyrogen": told.pop("pyrogen"),
        "format": FORMAT,
        "run": uuid.uuid4().hex,
        "story": describe_story(story),
        "data": {
            "training": _account(data),
            "validation": None if validation is None else _account(validation),
            "protocol": getattr(data, "protocol", None),
        },
        "options": options.to_dict(),
        "limit": {"epochs": options.limit.epochs, "steps": options.limit.steps},
        "versions": told,
    }


def _account(data: Any) -> dict[str, Any]:
    """Shape, type and a checksum of every column, so that a run is not resumed on other data."""
    try:
        columns = as_columns(data, torch.get_default_dtype())
    except TypeError:
        return {"class": type(data).__name__}
    return {
        str(key): {"shape": list(c.shape), "dtype": str(c.dtype).removeprefix("torch."), "crc32": _checksum(c)}
        for key, c in columns.items()
    }


def _checksum(column: Tensor) -> int:
    return zlib.crc32(np.ascontiguousarray(column.detach().cpu().numpy()).view(np.uint8).data)


def compare(old: Any, new: Any, path: str) -> None:
    """Raise ValueError where a resumed run's account differs from what is asked for now."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            compare(old.get(key), new.get(key), f"{path}.{key}")
    elif old != new:
        raise ValueError(
            f"resume: {path} was {json.dumps(old)} and is now {json.dumps(new)}: only epochs or steps may change; "
            "use the old value, or another folder"
        )
