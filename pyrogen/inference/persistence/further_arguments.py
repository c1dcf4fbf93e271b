"""The further arguments of a run, restored: some from its files, others as they are given again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrogen.inference.persistence.config import describe
from pyrogen.messages import did_you_mean


def restored_arguments(
    seen: Mapping[str, Any], tensors: Mapping[str, Tensor], given: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """The further arguments of a run: plain values and tensors as they were saved, others as they are given again.

    Args:
        seen: what `spec_to_json` returned.
        tensors: the saved arguments that are tensors, by name.
        given: arguments by name; saved ones may be among them, and functions of the step whose last value was saved.
        path: of the run directory, for messages.

    Returns:
        All arguments by name.

    Raises:
        ValueError: an argument is missing, is another one than in training, or was not one.
    """
    described = dict(seen.get("given", {}))
    described.update({name: describe(value) for name, value in seen["extra"].items()})
    saved = {**seen["extra"], **tensors}
    given = {name: value for name, value in given.items() if not (callable(value) and name in saved)}
    for name, value in given.items():
        if name not in described:
            hint = did_you_mean(name, described)
            raise ValueError(f"{path}: the run was trained without an argument '{name}'{hint}: leave it out")
        now = describe(value)
        if now != described[name]:
            then = json.dumps(described[name])
            raise ValueError(
                f"{path}: argument '{name}' was {then} in training, and is {json.dumps(now)}: pass the same"
            )
    for name in described:
        if name not in saved and name not in given:
            description = described[name]
            kind = description.get("class", "dict") if isinstance(description, dict) else type(description).__name__
            raise ValueError(
                f"{path}: the run was trained with an argument '{name}' ({kind}), which a file cannot hold: pass "
                f"load(..., arguments={{'{name}': ...}}) as fit was given it"
            )
    return {**saved, **given}
