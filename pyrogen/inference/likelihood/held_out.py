"""The ELBO on held-out data, for stories without a log-likelihood of each datum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.site_checks import check_sites
from pyrogen.inference.program.training_rows import check_training_rows
from pyrogen.inference.training.defaults import elbo_for, is_local, trace_first_batch
from pyrogen.inference.training.validation import mean_elbo

LOCAL_BATCH_SIZE = 256
"""Rows in a batch where every latent is in the data plate."""


def held_out_elbo(
    story: Any, data: Any, num_samples: int = 10, *, seed: int = 0, objective: Any = None, batch_size: int | None = None
) -> tuple[float, float]:
    """The ELBO on held-out data, also for stories with latents that all data share, which have no log weights.

    `total`, the size to which plates are scaled, is that of the training set.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: anything that `fit` takes.
        num_samples: runs over the data, 10 by default; the error is that of their mean.
        seed: of the draws, 0 by default.
        objective: a Pyro ELBO or one of `pyrogen.inference`'s; None, the default, for `Trace_ELBO`, or
            `TraceEnum_ELBO` where sites are marked for enumeration.
        batch_size: rows in a batch; None, the default, for 256 where every latent is in the data plate, else for all.

    Returns:
        The ELBO in nats per datum, and its Monte Carlo standard error.

    Raises:
        ValueError: the model draws what the guide does not, such as a response that was left out; or the guide has
            latents of its training rows, and these are others.
    """
    with evaluation_context(story) as context:
        spec = context.story.training_spec
        program = Program(context.story, spec.extra if spec is not None else None)
        batches = context.batches(data).with_size(batch_size or LOCAL_BATCH_SIZE, None)
        first = trace_first_batch(program, batches)
        if batch_size is None and (first is None or not is_local(context.story, first)):
            batches = batches.with_size(None, None)
            first = trace_first_batch(program, batches)
        if first is not None:
            check_sites(context.story, first)  # such as a response that was left out
            check_training_rows(program, first.batch)
        elbo = objective if objective is not None else elbo_for(first)
        divisors: dict[int, float] = {}
        seeds = np.random.SeedSequence(seed).generate_state(num_samples)  # no two seeds share draws
        runs = [mean_elbo(program, elbo, batches, int(s), divisors) for s in seeds]
    mean = sum(runs) / num_samples
    variance = sum((run - mean) ** 2 for run in runs) / max(1, num_samples - 1)
    return mean, math.sqrt(variance / num_samples)
