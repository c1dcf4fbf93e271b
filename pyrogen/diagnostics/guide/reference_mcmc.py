"""Draws of the exact posterior by NUTS, to hold a guide against."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS

from pyrogen.diagnostics.core.estimates import Array
from pyrogen.inference import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, Story, data_plate, latent_sites, outside

__all__ = ["Reference", "sample_reference"]


@dataclass(frozen=True)
class Reference:
    """Draws that stand for the posterior.

    Args:
        draws: by site, (chains, draws, ...), as `posterior` gives them after the first two dimensions.
    """

    draws: dict[str, Array]

    @property
    def rhat(self) -> dict[str, Array]:
        """By site, (...): rank-normalized split R-hat; above 1.01 the chains are not to be trusted."""
        from arviz_stats.base.array import array_stats

        return {name: array_stats.rhat(draws, chain_axis=0, draw_axis=1) for name, draws in self.draws.items()}

    @property
    def ess(self) -> dict[str, Array]:
        """By site, (...): effective number of draws in the bulk."""
        from arviz_stats.base.array import array_stats

        return {name: array_stats.ess(draws, chain_axis=0, draw_axis=1) for name, draws in self.draws.items()}

    def __str__(self) -> str:
        worst = max(float(np.max(rhat)) for rhat in self.rhat.values())
        least = min(float(np.min(ess)) for ess in self.ess.values())
        chains, draws = next(iter(self.draws.values())).shape[:2]
        told = f"{chains} chains of {draws} draws of {', '.join(self.draws)}"
        return f"{told}: R-hat up to {worst:.3f}, ESS from {least:.0f}"


def sample_reference(
    fitted: Any,
    data: Any,
    num_samples: int = 500,
    *,
    warmup: int = 300,
    chains: int = 2,
    jit: bool = True,
    seed: int = 0,
) -> Reference:
    """Draw latents from p(z | x) by the No-U-Turn sampler, parameters as they are; the guide is not asked.

    Pass the few data whose posteriors are wanted: they are sampled together, as one posterior of all their latents.
    Where data share latents, pass all training data. Latents marked for enumeration are summed out.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws of each chain after the warm-up.
        warmup: draws in which step size and masses adapt.
        chains: how many, one after another.
        jit: compile the potential by TorchScript; False for programs that it cannot trace.
        seed: of the chains.

    Raises:
        ValueError: there are no latents; or data share some, and these are not the training data.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> story = PPCA(4, latent=2).maximum_likelihood(x)
        >>> sample_reference(story, x[:3], 20, warmup=20, chains=1).draws["z"].shape
        (1, 20, 3, 2)

    References:
        Hoffman, Gelman 2014, JMLR 15, arXiv:1111.4246.
    """
    with evaluation_context(fitted) as context:
        story = context.story
        # a story at home takes its frozen parameters along, so they are frozen before it goes there
    with _frozen(story), evaluation_context(story, seed), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.trace` is deprecated", category=FutureWarning)
        program = context.program
        batch = _alone(program, context.batch(data))
        found = []
        for chain in range(chains):
            pyro.set_rng_seed(seed + chain)
            kernel = NUTS(lambda: program.model(batch), jit_compile=jit, ignore_jit_warnings=True)
            mcmc = MCMC(kernel, num_samples, warmup, disable_progbar=True)
            mcmc.run()
            found.append({name: draws.detach().cpu().numpy() for name, draws in mcmc.get_samples().items()})
    return Reference({name: np.stack([draws[name] for draws in found]) for name in found[0]})


@contextmanager
def _frozen(story: Story) -> Iterator[None]:
    """Parameters that ask for no gradient, which TorchScript cannot hold as constants otherwise."""
    free = [parameter for parameter in story.trainable().values() if parameter.requires_grad]
    try:
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)


def _alone(program: Program, batch: Batch) -> Batch:
    """The rows as a data set of their own, of which no plate is a subsample."""
    trace: Any = poutine.trace(program.model).get_trace(batch)
    latents = latent_sites(trace.nodes.values())
    plate = data_plate(trace.nodes.values(), batch.n)
    if not latents:
        raise ValueError(f"{program.story.name} has no latents to sample")
    shared = outside(latents, plate.name if plate is not None else None)
    if shared and batch.n != batch.total:
        raise ValueError(
            f"{program.story.name}: data share '{shared[0]}', whose posterior is given the {batch.total} rows of the "
            f"training data, and {batch.n} rows came: pass the training data"
        )
    return replace(batch, total=batch.n, index=torch.arange(batch.n, device=program.story.device))
