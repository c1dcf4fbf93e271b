"""Amortization and approximation gap: the posterior of each datum optimized within the guide's family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from torch.distributions import transform_to
from torch.distributions.constraints import is_dependent

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.program_structure import ProgramStructure
from pyrogen.diagnostics.core.row_blocks import analyze_row_blocks, random_rows
from pyrogen.diagnostics.elbo.decomposition import require_local_latents
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.inference import evaluation_context
from pyrogen.inference.likelihood.marginal_likelihood import exact_log_likelihood
from pyrogen.inference.program.row_log_weights import row_log_weights
from pyrogen.story import Batch, Story, latent_sites, unwrap_independent

_DRAWS_PER_RUN = 64
"""Draws of a datum that one run makes."""


@dataclass(frozen=True)
class InferenceGaps:
    """log p(x) - ELBO(x) by datum, (N,) in nats, in two parts.

    Args:
        amortized: the ELBO with the guide as it is.
        refined: the ELBO with the member of the guide's family that was optimized for each datum.
        log_likelihood: log p(x), exact, or importance-weighted with draws from the refined posteriors, which is a lower
            bound in expectation.
        khat: (N,) Pareto k-hat of those weights; -inf where exact.
        exact: whether the log-likelihood is exact.
    """

    amortized: Estimates
    refined: Estimates
    log_likelihood: Estimates
    khat: Array
    exact: bool

    @property
    def amortization(self) -> Estimates:
        """The gap due to one encoder for all data: refined - amortized."""
        return self.refined - self.amortized

    @property
    def approximation(self) -> Estimates:
        """The gap due to the guide's family: log p(x) - refined."""
        return self.log_likelihood - self.refined

    def __str__(self) -> str:
        amortization, approximation = self.amortization.mean(), self.approximation.mean()
        return f"amortization gap {amortization}, approximation gap {approximation} nats per datum"


def inference_gaps(
    fitted: Any,
    data: Any,
    *,
    rows: Count = 200,
    steps: Count = 300,
    rate: float = 0.05,
    particles: Count = 16,
    num_samples: Count = 1000,
    seed: Seed = 0,
) -> InferenceGaps:
    """Split log p(x) - ELBO(x) into the gap of the encoder and that of the guide's family.

    The distributions that the guide gives for each datum are copied, and their parameters optimized by Adam on the
    datum's own ELBO, all data side by side. The gain is the amortization gap, the rest the approximation gap. Adam
    stops short of the optimum, by some thousandths of a nat for each latent: the first is too small by that, the second
    too large. Latents that are shared by data, summed out or not drawn by the guide are refused, as are guides whose
    distributions cannot be copied: without reparametrized draws or parameters of their own, or given other latents.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: number of data, chosen at random; 200 by default.
        steps: Adam steps for each datum, 300 by default.
        rate: Adam's learning rate on unconstrained parameters, 0.05 by default; it decays to 0 as a half cosine.
        particles: draws for each datum and step, 16 by default.
        num_samples: draws of each bound, 1,000 by default.
        seed: of choice and draws, 0 by default.

    Returns:
        The bounds and their differences.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> story = PPCA(4, latent=2, guide="meanfield").maximum_likelihood(x)
        >>> gaps = inference_gaps(story, x, rows=10, steps=20)
        >>> gaps.amortization.value.shape, gaps.exact
        ((10,), True)

    References:
        Cremer, Li, Duvenaud 2018, arXiv:1801.03558.
    """
    blocks: list[tuple[Array, ...]] = []
    with evaluation_context(fitted, seed) as context:
        story = context.story
        batch = random_rows(context.batch(data), rows)
        for structure in analyze_row_blocks(story, batch, 1, draws_in_memory=_DRAWS_PER_RUN):
            require_local_latents(structure, story.name)
            family = _Family(story, structure)
            family.refine(steps, rate, particles)
            guides = structure.guide, family.guide
            blocks.append(tuple(_log_weights(structure, guide, num_samples) for guide in guides))
        known = exact_log_likelihood(story, batch) if hasattr(story, "log_prob") else None
    before, after = (ImportanceWeights(np.concatenate(parts, 1)) for parts in zip(*blocks, strict=True))
    if known is None:
        return InferenceGaps(before.elbo, after.elbo, after.log_likelihood, after.khat, False)
    exact = Estimates(known.double().cpu().numpy(), np.zeros(len(known)))
    return InferenceGaps(before.elbo, after.elbo, exact, np.full_like(exact.value, -np.inf), True)


def _log_weights(structure: ProgramStructure, guide: Any, num_samples: int) -> Array:
    sizes = [min(_DRAWS_PER_RUN, num_samples - start) for start in range(0, num_samples, _DRAWS_PER_RUN)]
    runs = [row_log_weights(structure.model, guide, structure.batch, size)[0] for size in sizes]
    return np.asarray(torch.cat(runs).double().cpu())


class _Family:
    """Copies of the distributions that a guide gives for some data, with trainable parameters for each datum."""

    def __init__(self, story: Story, structure: ProgramStructure) -> None:
        self.structure = structure
        first, second = (latent_sites(structure.run()[0].nodes.values()) for _ in range(2))
        self.members = {name: _FreeDistribution(story, name, site["fn"]) for name, site in first.items()}
        for name, member in self.members.items():
            again = _FreeDistribution(story, name, second[name]["fn"])
            if any(not torch.equal(value, again.parameters[key]) for key, value in member.parameters.items()):
                raise ValueError(
                    f"{member.site} has a distribution given draws of other latents: inference gaps need guides whose "
                    "latents are independent given the data"
                )

    def guide(self, batch: Batch) -> None:
        """q(z | x_i) with the parameters of datum i."""
        plate, times = self.structure.plate, batch.n // self.structure.batch.n
        with pyro.plate(plate.name, batch.n, dim=plate.dim):
            for name, member in self.members.items():
                pyro.sample(name, member.distribution(plate.dim, times))

    def refine(self, steps: int, rate: float, particles: int) -> None:
        """Raise the ELBO of each datum."""
        parameters = [value for member in self.members.values() for value in member.parameters.values()]
        optimizer = torch.optim.Adam(parameters, lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.enable_grad():
                weights, _ = row_log_weights(self.structure.model, self.guide, self.structure.batch, particles)
                (-weights.mean(0).sum()).backward(inputs=parameters)
            optimizer.step()
            schedule.step()


class _FreeDistribution:
    """One latent's distribution with trainable unconstrained parameters."""

    def __init__(self, story: Story, name: str, fn: Any) -> None:
        self.site = site = f"{story.name}: site '{name}'"
        self.batch_dim, self.event_dim = len(fn.batch_shape), fn.event_dim
        fn = unwrap_independent(fn)
        self.type, self.inner_event_dim = type(fn), fn.event_dim
        if not fn.has_rsample or not fn.arg_constraints:
            raise ValueError(
                f"{site} has a {type(fn).__name__}: inference gaps need reparametrized distributions with parameters "
                "of their own, such as Normal"
            )
        if is_dependent(type(fn).support):
            raise ValueError(f"{site} has a {type(fn).__name__}, whose support moves with its parameters")
        self.transforms = {key: transform_to(fn.arg_constraints[key]) for key in _parameters(fn)}
        values = {key: transform.inv(getattr(fn, key)) for key, transform in self.transforms.items()}
        self.parameters = {key: value.detach().clone().requires_grad_() for key, value in values.items()}

    def distribution(self, dim: int, times: int) -> Any:
        """The distribution with its data, at the batch dimension `dim`, each `times` times."""
        axis = self.batch_dim + dim
        values = {name: self.transforms[name](value) for name, value in self.parameters.items()}
        repeated = {name: torch.cat([value] * times, axis) for name, value in values.items()}
        return self.type(**repeated).to_event(self.event_dim - self.inner_event_dim)


def _parameters(fn: Any) -> list[str]:
    """Names of the parameters to optimize; of equivalent ones, such as a covariance and its factor, one."""
    if "scale_tril" in fn.arg_constraints:
        return ["loc", "scale_tril"]
    return [name for name in fn.arg_constraints if name in fn.__dict__] or list(fn.arg_constraints)
