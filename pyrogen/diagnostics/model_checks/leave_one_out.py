"""Leave-one-out predictive densities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.datatree import UNDIVIDED
from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.diagnostics.core.posterior_draws import collect_draws, joint_log_weights
from pyrogen.diagnostics.core.program_structure import analyze_program
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.diagnostics.guide.pareto_smoothing import khat_threshold, pareto_smooth
from pyrogen.inference import evaluation_context, log_likelihood, log_weights
from pyrogen.inference.training.result import Fit
from pyrogen.story import inside

_REFUSED = {
    "conditional": "given its own latents z_i, a datum is left out by the harmonic mean of p(x_i | z_i) over draws, "
    "which needs more draws than are feasible: for latents of each datum pass kind='marginal', log p(x_i)",
    "plain": "it assumes draws from the posterior, and these are the guide's: k-hats are low, and the result is wrong. "
    "Pass kind='approximate posterior', which weighs the draws by p / q",
}


@dataclass(frozen=True)
class LeaveOneOut:
    """Expected log predictive density, in nats.

    Args:
        pointwise: (N,) log p(x_i | x_-i).
        khat: (N,), Pareto k-hat of the weights that each is estimated with.
        threshold: of k-hat.
        kind: "marginal": log p(x_i), parameters as they are; "approximate posterior": by weighted draws of the guide.
    """

    pointwise: Array
    khat: Array
    threshold: float
    kind: str

    @property
    def elpd(self) -> Estimate:
        """The sum over data; its standard error is that of other data of the same size, not a Monte Carlo error."""
        n = len(self.pointwise)
        return Estimate(float(self.pointwise.sum()), float(self.pointwise.std(ddof=1)) * math.sqrt(n))

    @property
    def unreliable(self) -> Array:
        """Whether k-hat is above its threshold or unknown, (N,)."""
        return ~(self.khat <= self.threshold)

    def __str__(self) -> str:
        bad = float(self.unreliable.mean())
        return f"elpd {self.elpd} nats ({self.kind}); k-hat above {self.threshold:.2f} for {bad:.1%} of the data"


def loo(fitted: Any, data: Any, num_samples: Count = 1000, *, kind: str | None = None, seed: Seed = 0) -> LeaveOneOut:
    """Leave-one-out predictive densities, by the method that is right for the story's latents.

    Where every latent belongs to a datum, leaving a datum out changes its likelihood by the parameters alone, which are
    taken as fitted: log p(x_i), exact or importance-weighted. Where all are shared, draws of the guide are weighted by
    p(z | x) / q(z) and by 1 / p(x_i | z), as by `arviz_stats.loo_approximate_posterior` on the tree of `to_datatree`.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them; the training data, where latents are shared.
        num_samples: number of draws, 1,000 by default.
        kind: "marginal" or "approximate posterior", an error where it is wrong for the story; None, the default, takes
            the right one. "conditional" and "plain" are refused.
        seed: of the draws, 0 by default.

    Returns:
        The log predictive densities with their k-hats.

    Raises:
        ValueError: some latents are shared and some belong to a datum; or `kind` is wrong for the story.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> loo(PPCA(4, latent=2).maximum_likelihood(x), x, 100).kind
        'marginal'

    References:
        Vehtari, Gelman, Gabry 2017, arXiv:1507.04544; Magnusson, Andersen, Jonasson, Vehtari 2019, arXiv:1904.10679.
    """
    if kind in _REFUSED:
        raise ValueError(f"{kind} leave-one-out is refused: {_REFUSED[kind]}")
    right = _right_kind(fitted, data)
    if kind not in (None, right):
        raise ValueError(f"kind={kind!r} is not for this story: pass {right!r}, or leave it out")
    compute = _marginal if right == "marginal" else _approximate_posterior
    return compute(fitted, data, num_samples, seed)


def _right_kind(fitted: Any, data: Any) -> str:
    with evaluation_context(fitted, 0) as context:
        name = context.story.name
        structure = analyze_program(context.story, context.batch(data))
        sites = structure.run()[1].nodes
    if structure.local:
        return "marginal"
    if structure.plate is None or not structure.has_densities:
        raise ValueError(f"{name}: no datum has a likelihood given draws of the guide, so none can be left out")
    if structure.undivided is not None or not structure.row_terms:
        reason = UNDIVIDED.format(structure.undivided) if structure.undivided else "no site observes in the data plate"
        raise ValueError(f"{name}: {reason}")
    own = [latent for latent in structure.latents if inside(sites[latent], structure.plate.name)]
    if own:
        shared = "others" if len(own) < len(structure.latents) else f"term '{structure.shared_terms[0]}'"
        raise ValueError(
            f"{name}: latent '{own[0]}' belongs to a datum, and {shared} to all: given both, the likelihood of a "
            "datum is conditional, and cannot leave it out. Integrate its own out of the model, or hold data out"
        )
    return "approximate posterior"


def _marginal(fitted: Any, data: Any, num_samples: int, seed: int) -> LeaveOneOut:
    """Log p(x_i): exact where the story knows it, else from log weights."""
    if hasattr(fitted.story if isinstance(fitted, Fit) else fitted, "log_prob"):
        exact = log_likelihood(fitted, data, 1, exact=True).value.double().numpy()
        return LeaveOneOut(exact, np.full(len(exact), -np.inf), khat_threshold(num_samples), "marginal")
    weights = ImportanceWeights(log_weights(fitted, data, num_samples, seed=seed).numpy())
    return LeaveOneOut(weights.log_likelihood.value, weights.khat, weights.threshold, "marginal")


def _approximate_posterior(fitted: Any, data: Any, num_samples: int, seed: int) -> LeaveOneOut:
    """1 / E 1 / p(x_i | z) under the posterior given all data, by weighted draws of the guide."""
    with evaluation_context(fitted, seed) as context:
        batch = context.batch(data)
        arrays = collect_draws(context.story, batch, {"log_likelihood", "sample_stats"}, num_samples)
    sites = arrays.groups["log_likelihood"].values()
    log_p_x = np.sum([site.values[0].astype(np.float64) for site in sites], 0)
    log_w, khat = pareto_smooth(joint_log_weights(arrays) - log_p_x)
    pointwise = np.logaddexp.reduce(log_w + log_p_x, 0)
    return LeaveOneOut(pointwise, khat, khat_threshold(num_samples), "approximate posterior")
