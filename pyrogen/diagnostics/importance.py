"""What the log weights of a datum say: bounds on its log-likelihood, and how far to trust them."""

from __future__ import annotations

import math

import numpy as np

from pyrogen.diagnostics.shelf import Variable

__all__ = ["summary"]


def summary(log_weight: Variable) -> dict[str, Variable]:
    r"""Bounds on log p(x) by datum in nats, from log weights (chain, draw, datum).

    `elbo` is their mean; `log_likelihood` is log mean w (Burda et al. 2015, arXiv:1509.00519); each has its Monte Carlo
    standard error, nan for a single draw. `ess` is the effective number of draws, (sum w)^2 / sum w^2.
    """
    weights = log_weight.values.reshape(-1, log_weight.values.shape[-1]).astype(np.float64)
    k, top = len(weights), weights.max(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.exp(weights - np.where(np.isneginf(top), 0.0, top))
        ess = relative.sum(0) ** 2 / (relative**2).sum(0)
        spread = np.full_like(top, np.nan) if k == 1 else np.sqrt(np.maximum(k / ess - 1, 0) / (k - 1))
        found = {
            "elbo": weights.mean(0),
            "elbo_error": np.full_like(top, np.nan) if k == 1 else weights.std(0, ddof=1) / math.sqrt(k),
            "log_likelihood": top + np.log(relative.mean(0)),
            "log_likelihood_error": spread,
            "ess": ess,
        }
    return {name: Variable(values, log_weight.dims) for name, values in found.items()}
