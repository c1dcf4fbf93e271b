"""Which site made a loss that is not finite."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor

from pyrogen.inference.batching.row_batches import materialize
from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.rng import set_torch_random_state
from pyrogen.story import Batch, is_subsample


def locate_nonfinite_site(program: Program, batch: Batch, noise: list[Tensor]) -> str:
    """Repeat a step whose loss is not finite, with the same noise, and name the site.

    Args:
        program: the story's.
        batch: the rows of the step.
        noise: torch's random state before the step, as `torch_random_state` gives it.

    Returns:
        The reason, in words.
    """
    with isolated_run(program.story):
        set_torch_random_state(noise)
        recording = Recording(materialize(batch, anew=True))
        try:
            recording.run(program)
            return _first_nonfinite(recording)
        except (ValueError, RuntimeError) as error:
            return str(error).splitlines()[0]


def _first_nonfinite(recording: Recording) -> str:
    with pyro.validation_enabled(False), torch.no_grad():
        for role in ("guide", "model"):
            for name, site in getattr(recording, role).sites.items():
                if is_subsample(site):
                    continue
                if isinstance(site["value"], Tensor) and not torch.isfinite(site["value"].float()).all():
                    return f"{role} site '{name}' drew a value that is not finite"
                if not torch.isfinite(torch.as_tensor(site["fn"].log_prob(site["value"]))).all():
                    return f"the log density of {role} site '{name}' is not finite"
    return "no single site: the sum of log densities is not finite"
