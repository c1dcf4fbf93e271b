"""What the model makes of itself: data of its own, and how well its prior would do as a guide."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrogen.diagnostics.core.estimates import Estimates
from pyrogen.diagnostics.core.log_densities import by_row, score
from pyrogen.diagnostics.core.posterior_draws import anatomies, from_prior, new_data, taken, with_new
from pyrogen.diagnostics.core.program_structure import examine
from pyrogen.diagnostics.elbo.decomposition import check_local
from pyrogen.inference import evaluation_context
from pyrogen.inference.prediction.encode_decode import FixedLatents
from pyrogen.story import Batch

__all__ = ["prior_elbo", "simulated_data"]

_ROWS = 50
"""Rows that are simulated before the clock is looked at."""


def simulated_data(fitted: Any, data: Any, rows: int, *, seconds: float = float("inf"), seed: int = 0) -> Batch:
    """Data that the model makes, x ~ p(x), in the columns of the data; those that it conditions on are the data's own.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        rows: how many to make.
        seconds: after which no more are begun, for models that are slow to draw from.
        seed: of rows and draws.

    Raises:
        ValueError: the story declines to sample, or an observed site is no column of the data.
    """
    with evaluation_context(fitted, seed) as context:
        story = context.story
        story.require("sample")
        batch, start = context.batch(data), time.perf_counter()
        chosen = torch.cat([torch.randperm(batch.n) for _ in range(-(-rows // batch.n))])[:rows]
        found: list[Batch] = []
        for part in chosen.split(_ROWS):
            if found and time.perf_counter() - start > seconds:
                break
            anatomy = examine(story, taken(batch, part))
            found.append(with_new(anatomy, anatomy.run()[1], new_data(anatomy, anatomy.model)))
    columns = {key: _joined([part.columns[key] for part in found]) for key in found[0].columns}
    n = sum(part.n for part in found)
    return replace(batch, columns=columns, n=n, index=torch.arange(n, device=story.device))


def prior_elbo(fitted: Any, data: Any, num_samples: int = 100, *, seed: int = 0) -> Estimates:
    """E log p(x | z) under the prior, by datum, (N,) in nats: the ELBO of the guide q(z | x) = p(z).

    A guide that is no better has learned nothing from x.

    Args:
        fitted: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: columns as `fit` takes them.
        num_samples: draws for each datum.
        seed: of the draws.

    Raises:
        ValueError: a latent is shared by data, summed out or not drawn by the guide.

    Example:
        >>> from pyrogen.models import PPCA
        >>> x = torch.randn(50, 4) @ torch.tensor([2.0, 1.0, 1.0, 1.0]).diag()
        >>> story = PPCA(4, latent=1).maximum_likelihood(x)
        >>> bool(prior_elbo(story, x).mean().value < float(story.log_prob(x).detach().mean()))
        True
    """
    pieces = []
    with evaluation_context(fitted, seed) as context:
        story = context.story
        for anatomy in anatomies(story, context.batch(data), num_samples):
            check_local(anatomy, story.name)
            found: list[Tensor] = []
            while sum(map(len, found)) < num_samples:
                drawn = from_prior(anatomy)
                latents = {name: drawn.nodes[name]["value"] for name in anatomy.latents}
                model: Any = poutine.trace(FixedLatents(latents)(anatomy.model)).get_trace(anatomy.batch)
                score(model)
                told = torch.stack([by_row(model.nodes[name]["log_prob"], anatomy.plate) for name in anatomy.observed])
                found.append(anatomy.split(told.sum(0), [anatomy.plate.name]))
            pieces.append(Estimates.of_draws(torch.cat(found)[:num_samples].double().cpu().numpy()))
    return Estimates.joined(pieces)


def _joined(parts: list[Any]) -> Any:
    return torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0]
