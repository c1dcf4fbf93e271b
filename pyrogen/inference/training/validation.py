"""The ELBO on data that training does not use."""

from __future__ import annotations

import math
from typing import Any

from pyrogen.inference.batching.from_data import Batches
from pyrogen.inference.program.isolation import divisor_for
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.rng import seeded

VALIDATION_SEED_OFFSET = 1_000_003
"""Added to the seed for validation: a story built from the same seed may hold the noise that it would be judged by."""


def mean_elbo(
    program: Program, objective: Any, batches: Batches, seed: int, divisors: dict[int, float], step: int = 0
) -> float:
    """The objective's bound over all batches, one run for each, from a fixed seed.

    `total` stays the training set's, so that latents shared by all data weigh as much as in training.

    Args:
        program: the story with its arguments.
        objective: a Pyro ELBO or one of pyrogen's; a tempered one is evaluated without its weight.
        batches: the data.
        seed: of the draws, the same each time so that epochs compare.
        divisors: by which losses on a batch of n rows are divided, by n; filled in when a size first occurs.
        step: at which further arguments are evaluated; 0 by default.

    Returns:
        Nats per datum.
    """
    elbo = objective.evaluation() if hasattr(objective, "evaluation") else objective
    total, rows = 0.0, 0
    with seeded(seed), program.story.predicting():
        for batch in batches.epoch():
            batch = program.at_step(batch, step)
            if batch.n not in divisors:
                divisors[batch.n] = divisor_for(program, batch)
            loss = elbo.loss(program.model, program.guide, batch)
            loss = loss[0] if isinstance(loss, tuple) else loss
            total -= float(loss) / divisors[batch.n] * batch.n
            rows += batch.n
    return total / rows if rows else math.nan
