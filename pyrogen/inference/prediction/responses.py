"""Which sites of a program hold the data that it models, also where these were left out."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine

from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, enumerated, full_value, latent_sites, observed_sites
from pyrogen.story.observations import observes


def left_out_sites(program: Program, trace: Any, guided: Collection[str]) -> tuple[str, ...]:
    """The sites that the model draws only because their data were left out.

    Args:
        program: the story's.
        trace: of the model.
        guided: names of the guide's sites.

    Returns:
        Their names: sites that training observed, and that neither data nor guide provide here. Of a program whose
        training is not known, all that the guide does not draw; of enumerated ones those that are named as arguments.
    """
    spec, columns = program.story.training_spec, program.signatures[0].columns
    drawn = {name: site for name, site in latent_sites(trace.nodes.values()).items() if name not in guided}
    if spec is not None:
        return tuple(name for name in drawn if name in spec.sites)
    if "guide" in program.story.unsupported:
        return ()
    return tuple(name for name, site in drawn.items() if not enumerated(site) or name in columns)


def response_sites(trace: Any, left_out: Collection[str]) -> tuple[str, ...]:
    """The sites that hold the data, in the order of the program.

    Args:
        trace: of the model.
        left_out: what `left_out_sites` returned.

    Returns:
        Names of the observed sites, and of those left out.
    """
    observed = observed_sites(trace.nodes.values())
    return tuple(name for name in trace.nodes if name in observed or name in left_out)


def guided_sites(program: Program, batch: Batch) -> set[str]:
    """The sites of the guide, by a run without side effects.

    Args:
        program: the story's.
        batch: the rows.

    Returns:
        Their names; none where there is no guide, or it does not run on these rows.
    """
    names: set[str] = set()
    if "guide" not in program.story.unsupported:
        with suppress(Exception), isolated_run(program.story):
            names.update(poutine.trace(program.guide).get_trace(batch).nodes)
    return names


def blank_batch(program: Program, batch: Batch, trace: Any, observed: tuple[str, ...]) -> Batch | None:
    """The batch with its observed columns None, for a model that draws them from x=None.

    Args:
        program: the story's.
        batch: the rows.
        trace: of the model on the batch.
        observed: names of the observed sites.

    Returns:
        The batch, or None where the model cannot draw all its observed sites from it.
    """
    columns = {key: None if observes(trace, observed, key, c) else c for key, c in batch.columns.items()}
    blank = replace(batch, columns=columns)
    try:
        nodes = poutine.trace(program.model).get_trace(blank).nodes
    except Exception:  # no x=None path, in whatever way the program says so
        return None
    drawn = latent_sites(nodes.values())
    for name in observed:
        shape = full_value(trace.nodes[name]).shape
        if name not in drawn or torch.as_tensor(drawn[name]["value"]).shape != shape:
            return None
    return blank
