"""Log-likelihoods of each datum, with a Monte Carlo error, from any model and guide."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pyrogen.inference.likelihood.memory_budget import max_rows, split_rows
from pyrogen.inference.likelihood.weights import LogWeightEvaluator
from pyrogen.inference.program.evaluation_context import evaluation_context
from pyrogen.inference.program.program import Program
from pyrogen.inference.program.row_log_weights import NoWeights, kind_of_estimate, row_log_weights
from pyrogen.inference.program.training_rows import check_training_rows
from pyrogen.story import Batch, Signature


@dataclass(frozen=True)
class LogLikelihood:
    r"""The log-likelihood of each datum, in nats.

    Args:
        value: (N,) log p(x), exact or $\log \frac1k \sum_j w_j$ for weights $w_j = p(x, z_j) / q(z_j|x)$.
        error: (N,) its Monte Carlo standard error, $\sqrt{\operatorname{var} w / k} / \bar w$ (delta method); 0 where
            exact. It does not include the bias of the bound, which only a larger k reduces.
        elbo: (N,) the ELBO, the mean of log weights; nan where there is no guide.
        elbo_error: (N,) its Monte Carlo standard error.
        k: draws for each datum; 0 where no draw was made.
        kind: "exact", "importance-weighted", or "elbo" where the guide is a point (a VQ-VAE's): `value` is then the
            ELBO, a lower bound that no k improves.
    """

    value: Tensor
    error: Tensor
    elbo: Tensor
    elbo_error: Tensor
    k: int
    kind: str

    def mean(self) -> tuple[float, float]:
        """The mean log-likelihood over data.

        Returns:
            The mean and its Monte Carlo standard error, in nats per datum.
        """
        return float(self.value.mean()), float(self.error.square().sum().sqrt()) / len(self.error)

    def mean_elbo(self) -> tuple[float, float]:
        """The mean ELBO over data.

        Returns:
            The mean and its Monte Carlo standard error, in nats per datum.
        """
        return float(self.elbo.mean()), float(self.elbo_error.square().sum().sqrt()) / len(self.elbo_error)


def log_weights(story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None) -> Tensor:
    r"""Log weights $\log p(x_i, z_{si}) - \log q(z_{si}|x_i)$ of draws from the guide, unscaled by any plate.

    Raises `NoWeights`, a ValueError, where a site is outside the data plate, the guide does not sample a latent, or the
    program chooses its own rows.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: N rows, as columns that `fit` takes.
        num_samples: draws S for each datum, 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.

    Returns:
        (S, N), in nats.

    Raises:
        ValueError: `num_samples` is less than 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    with _density_context(story, data, seed) as (program, batch):
        chunks = [torch.cat([w.cpu() for w in weights]) for weights in _log_weight_chunks(program, batch, num_samples)]
    return torch.cat(chunks, 1)


def log_likelihood(
    story: Any, data: Any, num_samples: int = 100, *, seed: int | None = None, exact: bool | None = None
) -> LogLikelihood:
    r"""Log-likelihood of each datum: exact where the story has one, else $\log \frac1k \sum_j w_j$ (Burda et al. 2015).

    Memory is bounded: weights are summed in chunks of data and draws. Raises `NoWeights`, a ValueError, where there is
    no weight for each datum: see `log_weights`, and use `held_out_elbo`.

    Args:
        story: a `Fit`, a story, or a pair of Pyro functions that stock SVI trained.
        data: N rows, as columns that `fit` takes.
        num_samples: draws k for each datum, 100 by default.
        seed: of the draws; None, the default, continues torch's own generator.
        exact: True requires the story's own `log_prob`, False estimates by weights even if there is one; None, the
            default, is exact where possible.

    Returns:
        Value, error and ELBO of each datum, (N,).

    Raises:
        ValueError: the story has no density or, with `exact=True`, no exact one; or `num_samples` is less than 1.
    """
    with _density_context(story, data, seed) as (program, batch):
        own = program.story
        is_exact = hasattr(own, "log_prob") if exact is None else exact
        if is_exact and not hasattr(own, "log_prob"):
            raise ValueError(f"{own.name} has no exact log_prob: pass exact=False")
        kind = "exact" if is_exact else kind_of_estimate(program, batch)
        if not is_exact and kind != "importance-weighted":
            num_samples = min(num_samples, 1)  # further ones would be the same
        sums = None
        if "guide" not in own.unsupported and num_samples > 0:
            parts = [_WeightSums.of(weights) for weights in _log_weight_chunks(program, batch, num_samples)]
            sums = _WeightSums(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(_WeightSums)))
        if not is_exact:
            if sums is None:
                raise ValueError(f"num_samples must be at least 1, got {num_samples}")
            return sums.result(num_samples, kind)
        value = _exact_log_prob(own, batch)
    missing = torch.full_like(value, math.nan)
    elbo, error = (missing, missing) if sums is None else sums.elbo(num_samples)
    return LogLikelihood(value, torch.zeros_like(value), elbo, error, 0 if sums is None else num_samples, "exact")


@dataclass
class _WeightSums:
    """Sums over draws, (rows,): weights and their squares relative to the largest, log weights and their squares."""

    max_log: Tensor
    weight: Tensor
    squared_weight: Tensor
    log: Tensor
    squared_log: Tensor

    @classmethod
    def of(cls, chunks: Iterable[Tensor]) -> _WeightSums:
        """Sum chunks of log weights (some draws, rows)."""
        return functools.reduce(cls._plus, map(cls._of_one, chunks))

    @classmethod
    def _of_one(cls, chunk: Tensor) -> _WeightSums:
        chunk = chunk.cpu().double()
        max_log = chunk.max(0).values
        relative = (chunk - _finite_reference(max_log)).exp()
        return cls(max_log, relative.sum(0), relative.square().sum(0), chunk.sum(0), chunk.square().sum(0))

    def _plus(self, other: _WeightSums) -> _WeightSums:
        max_log = torch.maximum(self.max_log, other.max_log)
        reference = _finite_reference(max_log)
        # Weights that are all 0 stay 0, whatever they are relative to.
        mine, theirs = (torch.where(s.max_log == -math.inf, 0.0, (s.max_log - reference).exp()) for s in (self, other))
        weight = self.weight * mine + other.weight * theirs
        squared_weight = self.squared_weight * mine.square() + other.squared_weight * theirs.square()
        return _WeightSums(max_log, weight, squared_weight, self.log + other.log, self.squared_log + other.squared_log)

    def elbo(self, k: int) -> tuple[Tensor, Tensor]:
        """Mean log weight of each row, and its standard error."""
        mean = self.log / k
        variance = (self.squared_log / k - mean.square()).clamp(min=0) * k / max(1, k - 1)
        return mean, (variance / k).sqrt()

    def result(self, k: int, kind: str) -> LogLikelihood:
        """The estimate from k draws."""
        value = _finite_reference(self.max_log) + (self.weight / k).log()
        # var(w)/mean(w)^2 from the sums; the reference weight cancels.
        relative_variance = (k * self.squared_weight / self.weight.square() - 1).clamp(min=0)
        error = (relative_variance / max(1, k - 1)).sqrt()
        return LogLikelihood(value, error, *self.elbo(k), 0 if kind == "exact" else k, kind)


def _finite_reference(max_log: Tensor) -> Tensor:
    """The log weight to which others are relative: the largest, or 0 where all weights are 0."""
    return torch.where(max_log == -math.inf, 0.0, max_log)


def _exact_log_prob(story: Any, batch: Batch) -> Tensor:
    """The story's own log p(x) of each row, (N,), in bounded memory."""
    signature = Signature(story.log_prob, f"{story.name}.log_prob")

    def log_prob(rows: Batch) -> Tensor:
        args, kwargs = signature.bind(rows)
        return torch.as_tensor(story.log_prob(*args, **kwargs)).cpu()

    parts = [log_prob(rows) for rows in split_rows(story, log_prob, batch)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@contextmanager
def _density_context(fitted: Any, data: Any, seed: int | None) -> Iterator[tuple[Program, Batch]]:
    """The program in evaluation mode, and all of the data as one batch; refuses a story without a density."""
    with evaluation_context(fitted, seed) as context:
        context.story.require("density")
        batch = context.batch(data)
        check_training_rows(context.program, batch)
        yield context.program, batch


def _log_weight_chunks(program: Program, batch: Batch, num_samples: int) -> Iterator[Iterator[Tensor]]:
    """For each chunk of rows, an iterator over log weights (some draws, rows)."""
    program.story.require("guide")
    budget = max_rows(program.story, log_weight_run(program), batch)
    starts = range(0, batch.n, budget)
    num_chunks: Counter[tuple[int, int]] = Counter()
    for start in starts:
        rows = min(budget, batch.n - start)
        num_chunks.update((rows, draws) for draws in _split_draws(num_samples, rows, budget))
    evaluate = LogWeightEvaluator(program, num_chunks)
    for start in starts:
        part = batch.rows(start, start + budget)
        yield (evaluate(part, draws) for draws in _split_draws(num_samples, part.n, budget))


def log_weight_run(program: Program) -> Callable[[Batch], None]:
    """A run of guide and model that computes log weights, or fails to: what `max_rows` measures for them.

    Args:
        program: model and guide.

    Returns:
        A function of some rows.
    """

    def run(rows: Batch) -> None:
        with suppress(NoWeights):
            row_log_weights(program.model, program.guide, rows, 1)

    return run


def _split_draws(num_samples: int, rows: int, budget: int) -> Iterator[int]:
    """The number of draws in each run."""
    at_once = max(1, budget // rows)
    for done in range(0, num_samples, at_once):
        yield min(at_once, num_samples - done)
