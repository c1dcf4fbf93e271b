"""Data simulated from a model, and the ELBO of its prior as guide."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Estimates
from pyrogen.diagnostics.core.program_structure import analyze_program
from pyrogen.diagnostics.core.row_blocks import select_rows
from pyrogen.diagnostics.guide.missed_modes import prior_log_likelihoods
from pyrogen.inference import evaluation_context
from pyrogen.story import Batch

_BATCH_SIZE = 50
"""Rows that are simulated between two checks of the time limit."""
_FIRST = 5
"""Rows that are simulated first where time is limited: a diffusion of a thousand levels takes seconds for each."""


def simulated_data(
    fitted: Any, data: Any, rows: int, *, seconds: float = float("inf"), needed: int = 0, seed: Seed = 0
) -> Batch:
    """Simulate data x ~ p(x), in the columns of the data; columns that the model conditions on are the data's own.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: number of rows to simulate.
        seconds: time limit, which further rows are not begun to exceed; infinite by default.
        needed: number of rows without which the others are of no use: none but the first few are simulated where time
            will not do for them. 0 by default.
        seed: of rows and draws, 0 by default.

    Returns:
        The simulated rows; fewer than asked for where time runs out.
    """
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("sample")
        batch, start, taken = context.batch(data), time.perf_counter(), 0.0
        chosen = torch.cat([torch.randperm(batch.n) for _ in range(-(-rows // batch.n))])[:rows]
        few = _BATCH_SIZE if math.isinf(seconds) else _FIRST
        parts: list[Batch] = []
        for part in (chosen[:few], *(chosen[few:].split(_BATCH_SIZE) if rows > few else ())):
            left = seconds - (time.perf_counter() - start)
            # No batch takes less time than a smaller one.
            hopeless = len(parts) == 1 and few + left * _BATCH_SIZE / max(taken, 1e-9) < needed
            if parts and (taken > left or hopeless):
                break
            began = time.perf_counter()
            structure = analyze_program(story, select_rows(batch, part))
            parts.append(structure.with_simulated(structure.run()[1], structure.trace_predictive()))
            taken = time.perf_counter() - began
    columns = {
        key: torch.cat([part.columns[key] for part in parts]) if isinstance(first, Tensor) else first
        for key, first in parts[0].columns.items()
    }
    n = sum(part.n for part in parts)
    return replace(batch, columns=columns, n=n, index=torch.arange(n, device=story.device))


def prior_elbo(fitted: Any, data: Any, num_samples: Count = 100, *, seed: Seed = 0) -> Estimates:
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
    return Estimates.of_draws(prior_log_likelihoods(fitted, data, num_samples, seed=seed))
