"""Values of the sites of a trace, with the plates of their dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrogen.story import full_value


def deterministic_sites(trace: Any) -> dict[str, Any]:
    """The sites of `pyro.deterministic`.

    Args:
        trace: of a program.

    Returns:
        The sites by name.
    """
    sites = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    return {name: site for name, site in sites.items() if site["infer"].get("_deterministic")}


def value_and_dims(site: Any) -> tuple[Tensor, list[str | None]]:
    """A site's value with the plates of its dimensions; placeholder dimensions of size 1 between plates are dropped.

    Args:
        site: of a trace.

    Returns:
        The value, and for each of its dimensions the name of its plate, None for those of the event.
    """
    value, event = torch.as_tensor(site["value"]), int(site["fn"].event_dim)
    frames = [frame for frame in site["cond_indep_stack"] if frame.dim is not None]
    if site["infer"].get("_deterministic"):
        # `pyro.deterministic` without `event_dim` takes all dimensions for the event's.
        event = 0 if frames and event == value.dim() else min(event, value.dim())
    elif site["is_observed"]:
        value = full_value(site)
    batch = value.dim() - event
    dims: list[str | None] = [None] * value.dim()
    for frame in frames:
        if -frame.dim <= batch and value.shape[batch + frame.dim] == frame.size:
            dims[batch + frame.dim] = frame.name
    if not frames:
        return value, dims
    kept = [i for i in range(value.dim()) if i >= batch or dims[i] is not None or value.shape[i] != 1]
    return value.reshape([value.shape[i] for i in kept]), [dims[i] for i in kept]
