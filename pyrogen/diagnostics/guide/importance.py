"""Importance weights of each datum: bounds on log p(x), effective sample size, Pareto k-hat."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.datatree import Variable
from pyrogen.diagnostics.core.estimates import Array, Estimates
from pyrogen.diagnostics.core.shared_draws import SharedSampler
from pyrogen.diagnostics.guide.pareto_smoothing import (
    MIN_DRAWS,
    khat_threshold,
    pareto_smooth,
    relative_weights,
    tail_size,
)
from pyrogen.inference import NoWeights, evaluation_context, log_weights

_NEARLY_ALL, _HARDLY_ANY = 0.9, 0.02
"""Relative ESS above, and nats of the gap below, which weights hardly vary."""

_ENOUGH = 0.5
"""Relative ESS above which weighted moments are judged whatever the k-hat."""

_ESS_BATCH = 500
"""Draws in a batch of `typical_ess`."""

_CHUNK = 2**22
"""Weights that are smoothed at once."""


def importance_weights(fitted: Any, data: Any, num_samples: Count = 1000, *, seed: Seed = 0) -> ImportanceWeights:
    r"""Draw $z_s \sim q(z|x)$ for each datum, and weigh them by $w_s = p(x, z_s) / q(z_s|x)$.

    Where data share latents there is one posterior for all of them, and N is 1: weights, bounds and k-hat are of all
    latents given all data, and other data than those of training are refused.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them; the training data, if they share latents.
        num_samples: draws S for each datum, 1,000 by default.
        seed: of the draws, 0 by default; the caller's random state is kept.

    Returns:
        The weights, (S, N).

    Raises:
        NoWeights: draws have no weight; the message names the site.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(20, 4)
        >>> weights = importance_weights(PPCA(4, latent=2).maximum_likelihood(x), x, 100)
        >>> weights.khat.shape, weights.unreliable.mean()  # an exact guide: constant weights
        ((20,), np.float64(0.0))
    """
    try:
        return ImportanceWeights(log_weights(fitted, data, num_samples, seed=seed).numpy())
    except NoWeights as refusal:
        with evaluation_context(fitted, seed) as context:
            try:
                sampler = SharedSampler(context.story, context.batch(data))
            except NoWeights:
                raise refusal from None
            return ImportanceWeights(sampler.draw(num_samples).log_weights)


@dataclass(frozen=True)
class ImportanceWeights:
    r"""Log weights $\log w_{si} = \log p(x_i, z_{si}) - \log q(z_{si}|x_i)$, and what follows from them by datum.

    Args:
        log_weights: (S, N), in nats, draws first. Never of several data together: their products are dominated by a few
            draws, and the k-hat of the products holds for no datum.

    Raises:
        ValueError: `log_weights` is empty or no matrix.

    References:
        Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519; Yao, Vehtari, Simpson, Gelman 2018, arXiv:1802.02538;
        Vehtari, Simpson, Gelman, Yao, Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72), arXiv:1507.02646.
    """

    log_weights: Array

    def __post_init__(self) -> None:
        if np.ndim(self.log_weights) != 2 or not np.size(self.log_weights):
            raise ValueError(f"log_weights: expected (draws, data), got shape {np.shape(self.log_weights)}")

    @property
    def num_samples(self) -> int:
        """Draws S for each datum."""
        return len(self.log_weights)

    @functools.cached_property
    def elbo(self) -> Estimates:
        """The ELBO by datum, mean log w, (N,) in nats."""
        return Estimates.of_draws(self.log_weights)

    @functools.cached_property
    def log_likelihood(self) -> Estimates:
        """Log mean w over all draws by datum, (N,) in nats: a lower bound on log p(x) in expectation.

        Its error is by the delta method, and does not include the bound's bias, about -error^2 / 2.
        """
        return _log_mean(self.log_weights)

    @functools.cached_property
    def ess(self) -> Array:
        """Effective number of draws (sum w)^2 / sum w^2 by datum, (N,): of S, the share 1 / (1 + chi-square)."""
        relative = relative_weights(self.log_weights)
        with np.errstate(invalid="ignore"):
            return np.asarray(relative.sum(0) ** 2 / (relative**2).sum(0))

    @functools.cached_property
    def khat(self) -> Array:
        """Pareto k-hat by datum, (N,): see `pareto_smooth`. Above `threshold` the weights are unreliable."""
        chunks = np.array_split(self.log_weights, 1 + self.log_weights.size // _CHUNK, axis=1)
        return np.concatenate([pareto_smooth(chunk)[1] for chunk in chunks])

    @property
    def khat_error(self) -> Array:
        """Standard error of k-hat by datum, (1 + k) over the root of the number of draws in the tail, (N,).

        That of the maximum likelihood estimate of a generalized Pareto shape (Smith 1987, Annals of Statistics 15(3));
        nan where k-hat is not finite.
        """
        return np.where(np.isfinite(self.khat), (1 + self.khat) / math.sqrt(tail_size(self.num_samples)), np.nan)

    @property
    def threshold(self) -> float:
        """The threshold of k-hat for this number of draws."""
        return khat_threshold(self.num_samples)

    @property
    def negligible(self) -> Array:
        """Whether 25 or more weights hardly vary, (N,): ESS above .9 S, and a gap log p(x) - ELBO below .02 nats.

        The Pareto tail of such weights is that of their smallest fluctuations; it says nothing of the guide, and its
        k-hat grows with the number of draws.
        """
        with np.errstate(invalid="ignore"):  # weights that all vanish
            gap = self.log_likelihood.value - self.elbo.value
        enough = self.num_samples >= MIN_DRAWS
        return np.asarray((self.ess > _NEARLY_ALL * self.num_samples) & (gap < _HARDLY_ANY) & enough)

    @property
    def unreliable(self) -> Array:
        """Whether k-hat is above its threshold or unknown, and the weights are not negligible, (N,)."""
        return ~(self.khat <= self.threshold) & ~self.negligible

    @property
    def typical_ess(self) -> Array:
        """The ESS over number of draws of a batch of draws, median over batches of about 500, (N,).

        One draw far in a tail can hold a large part of all weight; it is in one batch alone.
        """
        batches = np.array_split(self.log_weights, max(1, self.num_samples // _ESS_BATCH))
        return np.asarray(np.median([ImportanceWeights(b).ess / len(b) for b in batches], 0))

    @property
    def sufficient(self) -> Array:
        """Whether `typical_ess` is above 1/2, (N,): weighted moments are then as good as those of half of the draws."""
        return np.asarray(self.typical_ess > _ENOUGH)

    @property
    def undecided(self) -> Array:
        """Whether k-hat counts, and is within two standard errors of its threshold, (N,)."""
        near = np.abs(self.khat - self.threshold) < 2 * self.khat_error
        return near & ~self.negligible & ~self.sufficient

    def bound(self, k: int) -> Estimates:
        r"""The k-draw bound $L_k = E \log \frac1k \sum_{j \le k} w_j$ by datum, (N,) in nats; the ELBO at k = 1.

        L_k grows with k, and log p(x) - L_k tends to chi-square / (2k).

        Args:
            k: number of draws, from 1 to S.

        Returns:
            The mean over the S // k disjoint blocks of k draws, which has no bias, with its error; for a single block,
            with the error by the delta method.

        Raises:
            ValueError: k is below 1 or above S.
        """
        if not 1 <= k <= self.num_samples:
            raise ValueError(f"k must be from 1 to the {self.num_samples} draws that there are, got {k}")
        blocks = self.num_samples // k
        if blocks == 1:
            return _log_mean(self.log_weights[:k])
        kept = self.log_weights[: blocks * k].reshape(blocks, k, -1)
        return Estimates.of_draws(np.stack([_log_mean(block).value for block in kept]))

    def __str__(self) -> str:
        bad = float(self.unreliable.mean())
        return (
            f"ELBO {self.elbo.mean()}, log p(x) {self.log_likelihood.mean()} nats per datum with k={self.num_samples}; "
            f"k-hat {np.nanmedian(self.khat):.2f} in the median, above {self.threshold:.2f} for {bad:.1%} of the data"
        )


def summarize_log_weights(log_weight: Variable) -> dict[str, Variable]:
    """ELBO, log p(x), their errors, ESS and k-hat of each datum.

    Args:
        log_weight: (chain, draw, datum).

    Returns:
        By name, (datum,), or (chain, datum) for several chains.
    """
    chains = [ImportanceWeights(chain) for chain in log_weight.values]
    values = {name: np.stack([operator.attrgetter(path)(chain) for chain in chains]) for name, path in _SUMMARY.items()}
    if len(chains) == 1:
        return {name: Variable(value[0], log_weight.dims) for name, value in values.items()}
    return {name: Variable(value, ("chain", *log_weight.dims)) for name, value in values.items()}


_SUMMARY = {
    "elbo": "elbo.value",
    "elbo_error": "elbo.error",
    "log_likelihood": "log_likelihood.value",
    "log_likelihood_error": "log_likelihood.error",
    "ess": "ess",
    "khat": "khat",
}
"""What `importance_summary` holds of `ImportanceWeights`."""


def _log_mean(log_weights: Array) -> Estimates:
    """Log of the mean weight of each datum; its error by the delta method."""
    relative, k = relative_weights(log_weights), len(log_weights)
    top = np.max(log_weights, 0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = relative.mean(0)
        error = np.full_like(mean, np.nan) if k == 1 else relative.std(0, ddof=1) / mean / math.sqrt(k)
        return Estimates(np.where(np.isneginf(top), top, top + np.log(mean)), error)
