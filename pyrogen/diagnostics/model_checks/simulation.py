"""Data simulated from a model, and the ELBO of its prior as guide."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimates
from pyrogen.diagnostics.core.log_densities import compute_unscaled_log_prob, log_prob_by_row
from pyrogen.diagnostics.core.program_structure import analyze_program
from pyrogen.diagnostics.core.row_blocks import analyze_row_blocks, select_rows
from pyrogen.diagnostics.elbo.decomposition import require_local_latents
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.latent_points import FixedLatents
from pyrogen.story import Batch

_BATCH_SIZE = 50
"""Rows that are simulated between two checks of the time limit."""


def simulated_data(fitted: Any, data: Any, rows: int, *, seconds: float = float("inf"), seed: int = 0) -> Batch:
    """Simulate data x ~ p(x), in the columns of the data; columns that the model conditions on are the data's own.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: number of rows to simulate.
        seconds: time limit after which no further rows are begun; infinite by default.
        seed: of rows and draws, 0 by default.

    Returns:
        The simulated rows; fewer than asked for where time ran out.
    """
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("sample")
        batch, start = context.batch(data), time.perf_counter()
        chosen = torch.cat([torch.randperm(batch.n) for _ in range(-(-rows // batch.n))])[:rows]
        parts: list[Batch] = []
        for part in chosen.split(_BATCH_SIZE):
            if parts and time.perf_counter() - start > seconds:
                break
            structure = analyze_program(story, select_rows(batch, part))
            parts.append(structure.with_simulated(structure.run()[1], structure.trace_predictive()))
    columns = {
        key: torch.cat([part.columns[key] for part in parts]) if isinstance(first, Tensor) else first
        for key, first in parts[0].columns.items()
    }
    n = sum(part.n for part in parts)
    return replace(batch, columns=columns, n=n, index=torch.arange(n, device=story.device))


def prior_elbo(fitted: Any, data: Any, num_samples: int = 100, *, seed: int = 0) -> Estimates:
    """E log p(x | z) under the prior, by datum, (N,) in nats: the ELBO of the guide q(z | x) = p(z).

    A guide that is no better has learned nothing from x. Latents that are shared by data, summed out or not drawn by
    the guide are refused.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws for each datum, 100 by default.
        seed: of the draws, 0 by default.

    Returns:
        The ELBO of each datum, with Monte Carlo errors.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4) @ torch.tensor([2.0, 1.0, 1.0, 1.0]).diag()
        >>> story = PPCA(4, latent=1).maximum_likelihood(x)
        >>> bool(prior_elbo(story, x).mean().value < float(story.log_prob(x).detach().mean()))
        True
    """
    estimates = []
    with evaluation_context(fitted, seed) as context:
        story = context.story
        for block in analyze_row_blocks(story, context.batch(data), num_samples):
            require_local_latents(block, story.name)
            runs: list[Tensor] = []
            while sum(map(len, runs)) < num_samples:
                prior = block.trace_prior()
                latents = {name: prior.nodes[name]["value"] for name in block.latents}
                model: Any = poutine.trace(FixedLatents(latents)(block.model)).get_trace(block.batch)
                compute_unscaled_log_prob(model)
                sites = [log_prob_by_row(model.nodes[name]["log_prob"], block.plate) for name in block.row_terms]
                runs.append(block.split_draws(torch.stack(sites).sum(0), [block.plate.name]))
            estimates.append(Estimates.of_draws(torch.cat(runs)[:num_samples].double().cpu().numpy()))
    return Estimates.joined(estimates)
