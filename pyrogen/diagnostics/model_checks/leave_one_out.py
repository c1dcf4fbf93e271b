"""Expected log predictive densities by leave-one-out and WAIC, as ArviZ's own results, and comparison of models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrogen.annotations import Count, Seed
from pyrogen.diagnostics.core.datatree import UNDIVIDED
from pyrogen.diagnostics.core.estimates import Array
from pyrogen.diagnostics.core.posterior_draws import collect_draws, joint_log_weights
from pyrogen.diagnostics.core.program_structure import analyze_program
from pyrogen.diagnostics.guide.importance import ImportanceWeights
from pyrogen.diagnostics.guide.pareto_smoothing import khat_threshold, pareto_smooth
from pyrogen.inference import evaluation_context, log_weights
from pyrogen.inference.likelihood.marginal_likelihood import exact_log_likelihood
from pyrogen.inference.training.result import Fit
from pyrogen.story import inside

if TYPE_CHECKING:
    import pandas
    from arviz_stats import ELPDData

_REFUSED = {
    "conditional": "given its own latents z_i, a datum is left out by the harmonic mean of p(x_i | z_i) over draws, "
    "which needs more draws than are feasible: for latents of each datum pass kind='marginal', log p(x_i)",
    "plain": "it assumes draws from the posterior, and these are the guide's: k-hats are low, and the result is wrong. "
    "Pass kind='approximate posterior', which weighs the draws by p / q",
}

_WAIC_VARIANCE = 0.4
"""Variance of log p(x_i | z) above which WAIC is unreliable (Vehtari, Gelman, Gabry 2017)."""


@dataclass(frozen=True)
class _Densities:
    """Log densities of each datum under draws, and what these weigh.

    Args:
        log_p: (S, N) log p(x_i | z_s); (1, N) log p(x_i) where latents belong to the data.
        log_weights: (S, 1) log p(z_s | x) / q(z_s), unnormalized.
        khat: (N,), of the weights that a marginal density is estimated with.
        num_samples: draws that a marginal density is estimated with.
    """

    log_p: Array
    log_weights: Array
    khat: Array | None = None
    num_samples: int = 1


def loo(fitted: Any, data: Any, num_samples: Count = 1000, *, kind: str | None = None, seed: Seed = 0) -> ELPDData:
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
        ArviZ's result: `elpd`, `se` (over data), `p`, `elpd_i` and `pareto_k` of each datum, `good_k`, the threshold of
        the latter, and `approx_posterior`: False for marginal densities. `arviz_stats.compare` takes it.

    Raises:
        ValueError: some latents are shared and some belong to a datum; or `kind` is wrong for the story.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4)
        >>> elpd = loo(PPCA(4, latent=2).maximum_likelihood(x), x, 100)
        >>> elpd.kind, elpd.n_data_points, elpd.elpd_i.shape
        ('loo', 50, (50,))

    References:
        Vehtari, Gelman, Gabry 2017, arXiv:1507.04544; Magnusson, Andersen, Jonasson, Vehtari 2019, arXiv:1904.10679.
    """
    found = _densities("leave-one-out", fitted, data, num_samples, kind, seed)
    if found.khat is not None:
        return _elpd_data("loo", found.log_p[0], found.log_p[0], found.khat, found.num_samples, False)
    weights, khat = pareto_smooth(found.log_weights - found.log_p)
    elpd_i = np.logaddexp.reduce(weights + found.log_p, 0)
    return _elpd_data("loo", elpd_i, _lppd(found), khat, len(found.log_p), True)


def waic(fitted: Any, data: Any, num_samples: Count = 1000, *, kind: str | None = None, seed: Seed = 0) -> ELPDData:
    r"""The widely applicable information criterion, as an expected log predictive density.

    $\log E p(x_i | z) - Var \log p(x_i | z)$ under the posterior, by draws of the guide weighted by p(z | x) / q(z).
    Where every latent belongs to a datum it is log p(x_i), the parameters as fitted, as of `loo`, which is to be
    preferred: its k-hats tell where it fails.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them; the training data, where latents are shared.
        num_samples: number of draws, 1,000 by default.
        kind: as of `loo`.
        seed: of the draws, 0 by default.

    Returns:
        ArviZ's result, of the kind "waic", with a warning where a variance is above 0.4.

    Raises:
        ValueError: as of `loo`.

    References:
        Watanabe 2010, JMLR 11; Vehtari, Gelman, Gabry 2017, arXiv:1507.04544.
    """
    found = _densities("WAIC", fitted, data, num_samples, kind, seed)
    if found.khat is not None:
        return _elpd_data("waic", found.log_p[0], found.log_p[0], found.khat, found.num_samples, False)
    smooth, khat = pareto_smooth(found.log_weights)
    weights, mean = np.exp(smooth), np.sum(np.exp(smooth) * found.log_p, 0)
    variance, lppd = np.sum(weights * (found.log_p - mean) ** 2, 0), _lppd(found)
    warned = bool((variance > _WAIC_VARIANCE).any())
    khat = np.full(len(lppd), khat[0])
    return _elpd_data("waic", lppd - variance, lppd, khat, len(weights), True, warned)


def compare(fits: Mapping[str, Any], data: Any, num_samples: Count = 1000, *, seed: Seed = 0) -> pandas.DataFrame:
    """Compare models by `loo`, with the standard errors of paired differences.

    Models whose latents belong to the data are compared by log p(x_i), for which the data must be held out from
    training to be fair to the smaller model; those with shared latents by leave-one-out on the training data.

    Args:
        fits: a `Fit`, a story or a pair of Pyro functions by name, at least two.
        data: columns as `fit` takes them, the same for all.
        num_samples: number of draws, 1,000 by default.
        seed: of the draws, 0 by default.

    Returns:
        The table of `arviz_stats.compare`: `elpd_diff` is the difference from the best, `dse` its standard error over
        data, of paired differences.

    Raises:
        ValueError: there are fewer than two; or `loo` refuses one; or some have shared latents and others have not.
    """
    from arviz_stats.loo import compare as compare_elpd

    if len(fits) < 2:
        raise ValueError(f"fits: expected at least two by name, {{'a': run, 'b': another}}, got {len(fits)}")
    results = {name: loo(fitted, data, num_samples, seed=seed) for name, fitted in fits.items()}
    by_kind = {result.approx_posterior: name for name, result in results.items()}
    if len(by_kind) > 1:
        raise ValueError(
            f"'{by_kind[True]}' has latents that data share and '{by_kind[False]}' has none: the first is left out by "
            "datum, and the second is not, so that their figures do not compare. Hold data out, and compare on those"
        )
    return compare_elpd(results)


def _densities(method: str, fitted: Any, data: Any, num_samples: int, kind: str | None, seed: int) -> _Densities:
    if kind in _REFUSED:
        raise ValueError(f"{kind} {method} is refused: {_REFUSED[kind]}")
    right = _right_kind(fitted, data)
    if kind not in (None, right):
        raise ValueError(f"kind={kind!r} is not for this story: pass {right!r}, or leave it out")
    compute: Callable[..., _Densities] = _marginal if right == "marginal" else _given_draws
    return compute(fitted, data, num_samples, seed)


def _lppd(densities: _Densities) -> Array:
    """Log E p(x_i | z) under the posterior, (N,)."""
    return np.asarray(np.logaddexp.reduce(pareto_smooth(densities.log_weights)[0] + densities.log_p, 0))


def _elpd_data(
    kind: str, elpd_i: Array, lppd_i: Array, khat: Array, num_samples: int, approximate: bool, warned: bool = False
) -> ELPDData:
    """ArviZ's result, whose class depends on its version."""
    from arviz_stats import utils
    from xarray import DataArray

    threshold, n = max(khat_threshold(num_samples), 0.0), len(elpd_i)
    fields: dict[str, Any] = {"kind": kind, "approx_posterior": approximate}
    result: Any = utils.ELPDData
    if hasattr(utils, "ELPDDataLOO"):  # from 1.0 on the kind is one of the class
        result = {"loo": utils.ELPDDataLOO}.get(kind) or type("ELPDDataWAIC", (utils.ELPDDataLOO,), {"_kind": kind})
        del fields["kind"]
    return result(
        **fields,
        elpd=float(elpd_i.sum()),
        se=math.sqrt(n) * float(elpd_i.std()),
        p=float((lppd_i - elpd_i).sum()),
        n_samples=num_samples,
        n_data_points=n,
        scale="log",
        warning=warned or bool((~(khat <= threshold)).any()),
        good_k=threshold,
        elpd_i=DataArray(elpd_i, dims=["data"], name="elpd_i"),
        pareto_k=DataArray(khat, dims=["data"], name="pareto_k"),
    )


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


def _marginal(fitted: Any, data: Any, num_samples: int, seed: int) -> _Densities:
    """Log p(x_i): exact where the story knows it, else from log weights."""
    if hasattr(fitted.story if isinstance(fitted, Fit) else fitted, "log_prob"):
        exact = exact_log_likelihood(fitted, data).double().cpu().numpy()
        return _Densities(exact[None], np.zeros((1, 1)), np.full(len(exact), -np.inf), num_samples)
    weights = ImportanceWeights(log_weights(fitted, data, num_samples, seed=seed).numpy())
    return _Densities(weights.log_likelihood.value[None], np.zeros((1, 1)), weights.khat, num_samples)


def _given_draws(fitted: Any, data: Any, num_samples: int, seed: int) -> _Densities:
    """Log p(x_i | z) by draws of the guide, and what these weigh."""
    with evaluation_context(fitted, seed) as context:
        batch = context.batch(data)
        arrays = collect_draws(context.story, batch, {"log_likelihood", "sample_stats"}, num_samples)
    sites = arrays.groups["log_likelihood"].values()
    log_p = np.sum([site.values[0].astype(np.float64) for site in sites], 0)
    weights = joint_log_weights(arrays)
    assert weights is not None
    return _Densities(log_p, weights)
