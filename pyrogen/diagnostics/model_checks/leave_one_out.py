"""How well each datum is predicted by the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.diagnostics.core.estimates import Array, Estimate
from pyrogen.diagnostics.core.posterior_draws import collect
from pyrogen.diagnostics.core.program_structure import examine
from pyrogen.diagnostics.guide.importance import ImportanceWeights, khat_threshold, smoothed
from pyrogen.inference import evaluation_context, log_likelihood, log_weights
from pyrogen.inference.training.result import Fit
from pyrogen.story import inside

__all__ = ["LeaveOneOut", "loo"]

_REFUSED = {
    "conditional": "given its own latents z_i, a datum is left out by the harmonic mean of p(x_i | z_i) over draws, "
    "which takes more draws than can be had: for latents of each datum take the marginal log p(x_i)",
    "plain": "it takes draws to be the posterior's, and these are the guide's: k-hats look good, and the result is "
    "wrong. Take the one that weighs them by p / q",
}


@dataclass(frozen=True)
class LeaveOneOut:
    """Expected log predictive density, in nats.

    Args:
        pointwise: (N,) log p(x_i | x_-i).
        khat: (N,), of the weights that each is estimated with.
        threshold: of k-hat.
        kind: "marginal": log p(x_i), parameters as they are; "approximate posterior": by draws from the guide, weighed.
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


def loo(fitted: Any, data: Any, num_samples: int = 1000, *, kind: str | None = None, seed: int = 0) -> LeaveOneOut:
    """Leave-one-out predictive densities, by the one way that is right for the story's latents.

    Where every latent belongs to a datum, leaving a datum out changes its likelihood by the parameters alone, which are
    taken as fitted: log p(x_i), exact or importance-weighted. Where all are shared, draws from the guide are weighed by
    p(z | x) / q(z) and by 1 / p(x_i | z), as by `arviz_stats.loo_approximate_posterior` on the tree of `to_datatree`.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them; the training data, where latents are shared.
        num_samples: draws.
        kind: None, or "marginal" or "approximate posterior" to insist; "conditional" and "plain" are refused.
        seed: of the draws.

    Raises:
        ValueError: latents both shared and of each datum; a kind that is wrong for the story, with the reason.

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
    found: LeaveOneOut = _KINDS[right](fitted, data, num_samples, seed)
    return found


def _right_kind(fitted: Any, data: Any) -> str:
    with evaluation_context(fitted, 0) as context:
        story = context.story
        anatomy = examine(story, context.batch(data))
        sites = anatomy.run()[1].nodes
    if anatomy.local:
        return "marginal"
    if anatomy.plate is None or not anatomy.dense:
        raise ValueError(f"{story.name}: no datum has a likelihood given draws of the guide, so none can be left out")
    own = [name for name in anatomy.latents if inside(sites[name], anatomy.plate.name)]
    if own:
        raise ValueError(
            f"{story.name}: latent '{own[0]}' belongs to a datum, and others are shared: given both, the likelihood "
            "of a datum is conditional, and cannot leave it out. Integrate its own out of the model, or hold data out"
        )
    return "approximate posterior"


def _marginal(fitted: Any, data: Any, num_samples: int, seed: int) -> LeaveOneOut:
    """Log p(x_i): exact where the story knows it, else from log weights."""
    if hasattr(fitted.story if isinstance(fitted, Fit) else fitted, "log_prob"):
        exact = log_likelihood(fitted, data, 0, exact=True).value.double().numpy()
        return LeaveOneOut(exact, np.full(len(exact), -np.inf), khat_threshold(num_samples), "marginal")
    weights = ImportanceWeights(log_weights(fitted, data, num_samples, seed=seed).numpy())
    return LeaveOneOut(weights.log_likelihood.value, weights.khat, weights.threshold, "marginal")


def _shared(fitted: Any, data: Any, num_samples: int, seed: int) -> LeaveOneOut:
    """With draws of the posterior given all data, p(x_i | x_-i) = 1 / E 1 / p(x_i | z); these are the guide's."""
    with evaluation_context(fitted, seed) as context:
        story = context.story
        batch = context.batch(data)
        groups = collect(story, batch, {"log_likelihood", "sample_stats"}, num_samples)[0].groups
    told = np.sum([v.values[0].astype(np.float64) for v in groups["log_likelihood"].values()], 0)
    lp, log_q = (groups["sample_stats"][name].values[0].astype(np.float64)[:, None] for name in ("lp", "log_q"))
    log_w, khat = smoothed(lp - log_q - told)
    pointwise = np.logaddexp.reduce(log_w + told, 0)
    return LeaveOneOut(pointwise, khat, khat_threshold(num_samples), "approximate posterior")


_KINDS = {"marginal": _marginal, "approximate posterior": _shared}
