"""Reference draws of the exact posterior, by NUTS."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.row_blocks import require_training_rows
from pyrogen.inference import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.story import Batch, Story, data_plate, latent_sites, outside


@dataclass(frozen=True)
class Reference:
    """Reference draws of the posterior.

    Args:
        draws: by site, (chains, draws, ...), as `posterior` gives them after the first two dimensions.
    """

    draws: dict[str, Array]

    @property
    def rhat(self) -> dict[str, Array]:
        """By site, (...): rank-normalized split R-hat; above 1.01 the chains have not converged."""
        return self._by_site("rhat")

    @property
    def ess(self) -> dict[str, Array]:
        """By site, (...): bulk effective sample size."""
        return self._by_site("ess")

    def _by_site(self, statistic: str) -> dict[str, Array]:
        from arviz_stats.base.array import array_stats

        compute = getattr(array_stats, statistic)
        return {name: compute(draws, chain_axis=0, draw_axis=1) for name, draws in self.draws.items()}

    def __str__(self) -> str:
        worst = max(float(np.max(rhat)) for rhat in self.rhat.values())
        least = min(float(np.min(ess)) for ess in self.ess.values())
        chains, draws = next(iter(self.draws.values())).shape[:2]
        sites = ", ".join(self.draws)
        return f"{chains} chains of {draws} draws of {sites}: R-hat up to {worst:.3f}, ESS from {least:.0f}"


def sample_reference(
    fitted: Any,
    data: Any,
    num_samples: Count = 500,
    *,
    warmup: int = 300,
    chains: Count = 2,
    jit: bool = True,
    seed: Seed = 0,
) -> Reference:
    """Draw latents from p(z | x) by the No-U-Turn sampler, parameters as they are; the guide is not used.

    Pass the few data whose posteriors are wanted: they are sampled together, as one posterior of all their latents.
    Where data share latents, pass all training data; others are refused. Latents marked for enumeration are summed out.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws of each chain after the warm-up, 500 by default.
        warmup: draws in which step size and mass matrix adapt, 300 by default.
        chains: number of chains, run one after another; 2 by default.
        jit: compile the potential by TorchScript, True by default; False for programs that it cannot trace.
        seed: of the chains, 0 by default.

    Returns:
        The draws.

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
    # Entered anew when parameters are frozen already: a context keeps the parameters as they were on entering.
    with _frozen(story), evaluation_context(story, seed) as context, torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.trace` is deprecated", category=FutureWarning)
        program = context.program
        batch = _as_whole_data_set(program, context.batch(data))
        draws = []
        for chain in range(chains):
            pyro.set_rng_seed(seed + chain)
            kernel = NUTS(lambda: program.model(batch), jit_compile=jit, ignore_jit_warnings=True)
            mcmc = MCMC(kernel, num_samples, warmup, disable_progbar=True)
            mcmc.run()
            draws.append({name: values.detach().cpu().numpy() for name, values in mcmc.get_samples().items()})
    return Reference({name: np.stack([chain_draws[name] for chain_draws in draws]) for name in draws[0]})


@contextmanager
def _frozen(story: Story) -> Iterator[None]:
    """Freeze the parameters: TorchScript takes no constants that require gradients."""
    trainable = [parameter for parameter in story.trainable().values() if parameter.requires_grad]
    with ExitStack() as stack:
        for parameter in trainable:
            stack.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)
        yield


def _as_whole_data_set(program: Program, batch: Batch) -> Batch:
    """The rows with themselves as training set, so that no plate subsamples them."""
    trace: Any = poutine.trace(program.model).get_trace(batch)
    latents = latent_sites(trace.nodes.values())
    plate = data_plate(trace.nodes.values(), batch.n)
    if not latents:
        raise ValueError(f"{program.story.name} has no latents to sample")
    shared = outside(latents, plate.name if plate is not None else None)
    if shared:
        require_training_rows(program.story, batch, f"'{shared[0]}'")
    return replace(batch, total=batch.n, index=torch.arange(batch.n, device=program.story.device))
