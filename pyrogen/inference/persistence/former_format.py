"""Run directories of format 1, read with their names mapped to today's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

FORMER_NAMES = (0, 1)
"""Formats whose names are mapped."""

_CLASSES: dict[str, str] = {
    "pyrogen.distributions.Categorical": "pyrogen.distributions.DiscretizedCategorical",
    "pyrogen.distributions.EvenSchedule": "pyrogen.distributions.LinearLogSNRSchedule",
    "pyrogen.distributions.LeaveOneOut": "pyrogen.distributions.LeaveOneOutBandwidth",
    "pyrogen.distributions.LinearSchedule": "pyrogen.distributions.LinearBetaSchedule",
    "pyrogen.distributions.Symbols": "pyrogen.distributions.Categorical",
}

_DIFFUSION = {
    "depth": "num_timesteps",
    "drawn": "timesteps_per_datum",
    "simple": "simple_loss",
    "withheld": "label_dropout",
}
_ARGUMENTS = {
    "pyrogen.autoregressive.LanguageModel": {"places": "max_length"},
    "pyrogen.distributions.Autoregressive": {"for_draws": "inverse"},
    "pyrogen.models.ConditionalDiffusion": _DIFFUSION,
    "pyrogen.models.Diffusion": _DIFFUSION,
    "pyrogen.models.SequenceAutoencoder": {"keep": "word_keep_prob"},
    "pyrogen.models.SequenceVAE": {"keep": "word_keep_prob"},
}
"""Arguments of constructors, by today's class."""

_ATTRIBUTES = {
    "_vectors": ("embedding",),
    "above": ("vertical_conv",),
    "across": ("vertical_to_horizontal",),
    "beside": ("horizontal_conv", "skip_conv"),
    "doubled": ("upsample",),
    "end": ("last",),
    "first": ("embedding",),
    "go_on": ("state_conv",),
    "go_on_right": ("state_conv_right",),
    "grow": ("upsample",),
    "halved": ("downsample",),
    "held": ("submodules",),
    "hear": ("scale_shift",),
    "hidden": ("mask_token",),
    "look": ("qkv_proj", "attention", "input_conv"),
    "look_right": ("input_conv_right",),
    "out": ("output_conv",),
    "past": ("shortcut",),
    "places": ("position_embedding", "max_length"),
    "reader": ("encoder",),
    "shrink": ("downsample",),
    "taught": ("label_weight",),
    "tell": ("out_proj", "output_conv"),
    "told": ("context_proj", "embedding", "scale_shift", "context_embedding"),
}
"""Parts of the names of parameters and buffers."""


def current_names(value: Any) -> Any:
    """The story of a configuration of format 1 in today's names.

    Args:
        value: classes with their arguments, lists of them, or plain values.

    Returns:
        The same with former classes and arguments renamed.
    """
    if isinstance(value, list):
        return [current_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    arguments = value.get("arguments", {})
    if not isinstance(value.get("class"), str) or not isinstance(arguments, dict):
        return {key: current_names(each) for key, each in value.items()}
    cls = str(_CLASSES.get(value["class"], value["class"]))
    renamed = _ARGUMENTS.get(cls, {})
    current = {renamed.get(key, key): current_names(each) for key, each in arguments.items()}
    return {**value, "class": cls, "arguments": current}


def current_weights(saved: Mapping[str, Tensor], live: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights of format 1 under today's names: the order of parameters and buffers has not changed.

    Args:
        saved: by former names, in the order of the story that was saved.
        live: of the story that receives them.
        path: of the run directory, for the message.

    Returns:
        The saved weights by the names of `live`.

    Raises:
        ValueError: a name differs by more than the parts that were renamed.
    """
    if len(saved) != len(live):
        return dict(saved)  # refused where names are compared
    for former, name in zip(saved, live, strict=True):
        # Networks of flows are one level higher or lower than they were.
        parts, others = ([part for part in key.split(".") if part != "network"] for key in (former, name))
        same = len(parts) == len(others)
        if not same or any(a != b and b not in _ATTRIBUTES.get(a, ()) for a, b in zip(parts, others, strict=True)):
            raise ValueError(f"{path}: '{former}' of an older version of pyrogen has no counterpart: train again")
    return dict(zip(live, saved.values(), strict=True))
