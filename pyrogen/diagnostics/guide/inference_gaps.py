"""Whether the encoder or the family is at fault: the posterior of each datum refined within the guide's family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from torch.distributions import transform_to
from torch.distributions.constraints import is_dependent

from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.posterior_draws import anatomies, some_rows
from pyrogen.diagnostics.core.program_structure import Anatomy
from pyrogen.diagnostics.elbo.decomposition import check_local
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.inference import evaluation_context
from pyrogen.inference.likelihood.marginal_likelihood import log_likelihood
from pyrogen.inference.program.row_log_weights import row_log_weights
from pyrogen.story import Batch, Story, latent_sites, unwrap_independent

__all__ = ["InferenceGaps", "inference_gaps"]


@dataclass(frozen=True)
class InferenceGaps:
    """log p(x) - ELBO(x) by datum, (N,) in nats, taken apart.

    Args:
        amortized: the ELBO with the guide as it is.
        refined: the ELBO with the best member of the guide's family that was found for each datum.
        log_likelihood: log p(x), exact, or importance-weighted with draws from the refined posteriors, which is a lower
            bound in expectation.
        khat: (N,) of those weights; -inf where exact.
        exact: the log-likelihood is exact.
    """

    amortized: Estimates
    refined: Estimates
    log_likelihood: Estimates
    khat: Array
    exact: bool

    @property
    def amortization(self) -> Estimates:
        """What one encoder for all data costs: refined - amortized."""
        return _difference(self.refined, self.amortized)

    @property
    def approximation(self) -> Estimates:
        """What the family costs: log p(x) - refined."""
        return _difference(self.log_likelihood, self.refined)

    def __str__(self) -> str:
        encoder, family = self.amortization.mean(), self.approximation.mean()
        return f"amortization gap {encoder}, approximation gap {family} nats per datum"


def inference_gaps(
    fitted: Any,
    data: Any,
    *,
    rows: int = 200,
    steps: int = 300,
    rate: float = 0.05,
    particles: int = 16,
    num_samples: int = 1000,
    seed: int = 0,
) -> InferenceGaps:
    """Take log p(x) - ELBO(x) apart: into what the encoder costs, and what its family costs.

    The distributions that the guide gives for each datum are copied, their parameters set free and moved by Adam on
    the datum's own ELBO, all data side by side. What that gains is the amortization gap; what is left, the
    approximation gap. Adam stops short of the best, by some thousandths of a nat for each latent: the first comes out
    that much too small, the second too large.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: how many data are looked at, a random choice of them.
        steps: of Adam for each datum.
        rate: its learning rate, on unconstrained parameters; it decays to 0 as a half cosine.
        particles: draws for each datum and step.
        num_samples: draws of each bound.
        seed: of choice and draws.

    Raises:
        ValueError: a latent is shared by data, summed out or not drawn by the guide; or the guide's distributions
            cannot be copied: without reparametrized draws or parameters of their own, or given draws of other latents.

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
    pieces: list[tuple[Array, Array]] = []
    with evaluation_context(fitted, seed) as context:
        story = context.story
        batch = some_rows(context.batch(data), rows)
        for anatomy in anatomies(story, batch, 1, held=_TOGETHER):
            check_local(anatomy, story.name)
            family = _Family(story, anatomy)
            family.refine(steps, rate, particles)
            pieces.append((_weights(anatomy, anatomy.guide, num_samples), _weights(anatomy, family.guide, num_samples)))
        known = log_likelihood(story, batch, 0, exact=True) if hasattr(story, "log_prob") else None
    before, after = (ImportanceWeights(np.concatenate(parts, 1)) for parts in zip(*pieces, strict=True))
    if known is None:
        return InferenceGaps(before.elbo, after.elbo, after.log_likelihood, after.khat, False)
    exact = Estimates(known.value.double().numpy(), known.error.double().numpy())
    return InferenceGaps(before.elbo, after.elbo, exact, np.full_like(exact.value, -np.inf), True)


_TOGETHER = 64
"""Draws of a datum that one run makes."""


def _difference(a: Estimates, b: Estimates) -> Estimates:
    return Estimates(a.value - b.value, np.hypot(a.error, b.error))


def _weights(anatomy: Anatomy, guide: Any, num_samples: int) -> Array:
    sizes = [min(_TOGETHER, num_samples - done) for done in range(0, num_samples, _TOGETHER)]
    found = [row_log_weights(anatomy.model, guide, anatomy.batch, size)[0] for size in sizes]
    weights: Array = torch.cat(found).double().cpu().numpy()
    return weights


class _Family:
    """The distributions that a guide gives for some data, with parameters of their own for each datum."""

    def __init__(self, story: Story, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        first, second = (latent_sites(anatomy.run()[0].nodes.values()) for _ in range(2))
        self.members = {name: _Member(f"{story.name}: site '{name}'", site["fn"]) for name, site in first.items()}
        for name, member in self.members.items():
            again = _Member("", second[name]["fn"])
            if any(not torch.equal(value, again.free[key]) for key, value in member.free.items()):
                raise ValueError(
                    f"{member.who} has a distribution given draws of other latents, so none of a datum's own: the gaps "
                    "are for guides whose latents are independent given the data"
                )

    def guide(self, batch: Batch) -> None:
        """q(z | x_i) with the parameters of datum i."""
        plate, times = self.anatomy.plate, batch.n // self.anatomy.batch.n
        with pyro.plate(plate.name, batch.n, dim=plate.dim):
            for name, member in self.members.items():
                pyro.sample(name, member.distribution(plate.dim, times))

    def refine(self, steps: int, rate: float, particles: int) -> None:
        """Raise the ELBO of each datum."""
        free = [value for member in self.members.values() for value in member.free.values()]
        optimizer = torch.optim.Adam(free, lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
        for _ in range(steps):
            with torch.enable_grad():
                weights, _ = row_log_weights(self.anatomy.model, self.guide, self.anatomy.batch, particles)
                gradients = torch.autograd.grad(-weights.mean(0).sum(), free)
            for value, gradient in zip(free, gradients, strict=True):
                value.grad = gradient
            optimizer.step()
            schedule.step()


class _Member:
    """One latent's distribution, its unconstrained parameters free."""

    def __init__(self, who: str, fn: Any) -> None:
        self.who, self.batch_dim, self.event_dim = who, len(fn.batch_shape), fn.event_dim
        fn = unwrap_independent(fn)
        self.type, self.inner_event_dim = type(fn), fn.event_dim
        if not fn.has_rsample or not fn.arg_constraints:
            raise ValueError(
                f"{who} has a {type(fn).__name__}, and the gaps are for guides of reparametrized distributions with "
                "parameters of their own, such as Normal"
            )
        if is_dependent(type(fn).support):
            raise ValueError(f"{who} has a {type(fn).__name__}, whose support moves with its parameters")
        self.transforms = {name: transform_to(fn.arg_constraints[name]) for name in _parameters(fn)}
        self.free = {
            name: transform.inv(getattr(fn, name)).detach().clone().requires_grad_()
            for name, transform in self.transforms.items()
        }

    def distribution(self, dim: int, times: int) -> Any:
        """With its data, at the batch dimension `dim`, each `times` times."""
        axis = self.batch_dim + dim
        values = {name: self.transforms[name](value) for name, value in self.free.items()}
        repeated = {name: torch.cat([value] * times, axis) for name, value in values.items()}
        return self.type(**repeated).to_event(self.event_dim - self.inner_event_dim)


def _parameters(fn: Any) -> list[str]:
    """Of equivalent parameters, such as a covariance and its factor, the names of those to set free."""
    if "scale_tril" in fn.arg_constraints:
        return ["loc", "scale_tril"]
    return [name for name in fn.arg_constraints if name in fn.__dict__] or list(fn.arg_constraints)
